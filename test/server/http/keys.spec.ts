import { expect } from 'chai';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';

describe("a tenant's own keys", () => {
  let server: TestServer;
  let acme: TestTenant;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server.stop());
  beforeEach(async () => {
    acme = await server.createTenant();
  });

  it('are made, listed and revoked with a key that may manage', async () => {
    const made = await acme.client.post('/api/v1/keys', { name: 'site', scopes: ['chat'] });
    expect(made.status).to.equal(201);
    const site = server.tenant(String(made.body.api_key));
    expect((await site.get('/api/v1/me')).body.key).to.deep.include({ name: 'site', scopes: ['chat'] });
    const listed = (await acme.client.get('/api/v1/keys')).body.data as Json[];
    expect(listed.map(({ name }) => name)).to.deep.equal(['site', 'default']);
    expect((await acme.client.delete(`/api/v1/keys/${made.body.id}`)).status).to.equal(204);
    expect((await site.get('/api/v1/me')).status).to.equal(401);
  });

  it('never have more scopes than the key that makes them, by default the same', async () => {
    const { body } = await acme.client.post('/api/v1/keys', { name: 'manager', scopes: ['manage'] });
    const manager = server.tenant(String(body.api_key));
    const refused = await manager.post('/api/v1/keys', { name: 'more', scopes: ['manage', 'chat'] });
    expect([refused.status, refused.body.code]).to.deep.equal([403, 'insufficient_scope']);
    expect((await manager.post('/api/v1/keys', { name: 'same' })).body.scopes).to.deep.equal(['manage']);
  });

  it('cannot be revoked down to none that can manage', async () => {
    const { body } = await acme.client.get('/api/v1/me');
    const own = `/api/v1/keys/${(body.key as Json).id}`;
    const refused = await acme.client.delete(own);
    expect([refused.status, refused.body.code]).to.deep.equal([422, 'validation_failed']);
    await acme.client.post('/api/v1/keys', { name: 'next' });
    expect((await acme.client.delete(own)).status).to.equal(204);
    expect((await acme.client.get('/api/v1/me')).status).to.equal(401);
  });

  it('are out of reach for another tenant, and for the operator under another tenant', async () => {
    const { body } = await acme.client.post('/api/v1/keys', { name: 'mine' });
    const globex = await server.createTenant({ name: 'Globex' });
    const missing = await globex.client.delete('/api/v1/keys/019a0000-0000-7000-8000-000000000000');
    const foreign = await globex.client.delete(`/api/v1/keys/${body.id}`);
    expect({ ...foreign.body, request_id: '' }).to.deep.equal({ ...missing.body, request_id: '' });
    const asAdmin = await server.admin.delete(`/api/v1/admin/tenants/${globex.id}/keys/${body.id}`);
    expect({ ...asAdmin.body, request_id: '' }).to.deep.equal({ ...missing.body, request_id: '' });
    expect((await server.tenant(String(body.api_key)).get('/api/v1/me')).status).to.equal(200);
  });
});
