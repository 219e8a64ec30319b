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

  it('rotate without a body, which is as good as an empty one', async () => {
    const { body } = await acme.client.post('/api/v1/keys', { name: 'site' });
    const path = `/api/v1/keys/${body.id}/rotate`;
    const rotated = await server.fetch(path, { method: 'POST', headers: { 'X-API-Key': acme.apiKey } });
    expect(rotated.status).to.equal(200);
    expect((await server.tenant(String(body.api_key)).get('/api/v1/me')).status).to.equal(401);
    expect((await server.tenant(String(rotated.body.api_key)).get('/api/v1/me')).status).to.equal(200);
  });

  it('never have more scopes than the key that makes them, by default the same', async () => {
    const { body } = await acme.client.post('/api/v1/keys', { name: 'manager', scopes: ['manage'] });
    const manager = server.tenant(String(body.api_key));
    const refused = await manager.post('/api/v1/keys', { name: 'more', scopes: ['manage', 'chat'] });
    expect([refused.status, refused.body.code]).to.deep.equal([403, 'insufficient_scope']);
    expect((await manager.post('/api/v1/keys', { name: 'same' })).body.scopes).to.deep.equal(['manage']);
  });

  it('are rotated by the operator: same id, new secret, and the old one for as long as was asked', async () => {
    const { body: me } = await acme.client.get('/api/v1/me');
    const keyId = String((me.key as Json).id);
    const path = `/api/v1/admin/tenants/${acme.id}/keys/${keyId}/rotate`;
    const overlapping = await server.admin.post(path, { overlap_seconds: 3600 });
    expect(overlapping.status).to.equal(200);
    expect(overlapping.body).to.include({ id: keyId, name: 'default', revoked_at: null });
    const second = server.tenant(String(overlapping.body.api_key));
    expect((await acme.client.get('/api/v1/me')).body).to.deep.equal((await second.get('/api/v1/me')).body);
    const atOnce = await server.admin.post(path, {});
    const third = server.tenant(String(atOnce.body.api_key));
    const statuses = [acme.client, second, third].map(
      async (client) => (await client.get('/api/v1/me')).status,
    );
    expect(await Promise.all(statuses)).to.deep.equal([401, 401, 200]);
    expect(await server.admin.get(`/api/v1/admin/tenants/${acme.id}/keys`).then(({ text }) => text))
      .to.include(keyId)
      .and.not.include(String(atOnce.body.api_key));
    await server.admin.delete(path.replace('/rotate', ''));
    expect((await server.admin.post(path, {})).status, 'a revoked key').to.equal(404);
    const lines = JSON.stringify(server.logs());
    for (const { body } of [overlapping, atOnce]) expect(lines).not.to.include(String(body.api_key));
  });

  it('rotate themselves, and others that allow no more than they do', async () => {
    const make = async (name: string, scopes: string[]) =>
      (await acme.client.post('/api/v1/keys', { name, scopes })).body;
    const manager = await make('manager', ['manage']);
    const client = server.tenant(String(manager.api_key));
    const rotate = (keyId: unknown) => client.post(`/api/v1/keys/${keyId}/rotate`, { overlap_seconds: 60 });
    const chat = await make('site', ['chat']);
    const refused = await rotate(chat.id);
    expect([refused.status, refused.body.code]).to.deep.equal([403, 'insufficient_scope']);
    expect(refused.text).not.to.include('nbs_');
    expect((await server.tenant(String(chat.api_key)).get('/api/v1/me')).status).to.equal(200);
    const own = await rotate(manager.id);
    expect(own.body).to.deep.include({ id: manager.id, scopes: ['manage'] });
    expect((await server.tenant(String(own.body.api_key)).get('/api/v1/keys')).status).to.equal(200);
    const site = server.tenant(String(chat.api_key));
    const unmanaged = await site.post(`/api/v1/keys/${chat.id}/rotate`, {});
    expect([unmanaged.status, unmanaged.body.code]).to.deep.equal([403, 'insufficient_scope']);
  });

  it('are not rotated for an overlap that is not 0 to 30 days in whole seconds', async () => {
    const { body: me } = await acme.client.get('/api/v1/me');
    const path = `/keys/${(me.key as Json).id}/rotate`;
    for (const input of [-1, 1.5, 30 * 86_400 + 1, '60', null, true].map((overlap_seconds) => ({
      overlap_seconds,
    }))) {
      for (const reply of [
        await acme.client.post(`/api/v1${path}`, input),
        await server.admin.post(`/api/v1/admin/tenants/${acme.id}${path}`, input),
      ]) {
        expect([reply.status, reply.body.code], JSON.stringify(input)).to.deep.equal([
          422,
          'validation_failed',
        ]);
        expect((reply.body.errors as Json[]).map(({ path }) => path)).to.deep.equal(['overlap_seconds']);
      }
    }
    expect((await acme.client.post(`/api/v1${path}`, { overlap: 1 })).status).to.equal(422);
    expect((await acme.client.post(`/api/v1${path}`, { overlap_seconds: 30 * 86_400 })).status).to.equal(200);
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
    for (const reply of [
      await globex.client.post(`/api/v1/keys/${body.id}/rotate`, {}),
      await server.admin.post(`/api/v1/admin/tenants/${globex.id}/keys/${body.id}/rotate`, {}),
    ]) {
      expect({ ...reply.body, request_id: '' }).to.deep.equal({ ...missing.body, request_id: '' });
    }
    const asAdmin = await server.admin.delete(`/api/v1/admin/tenants/${globex.id}/keys/${body.id}`);
    expect({ ...asAdmin.body, request_id: '' }).to.deep.equal({ ...missing.body, request_id: '' });
    expect((await server.tenant(String(body.api_key)).get('/api/v1/me')).status).to.equal(200);
  });
});
