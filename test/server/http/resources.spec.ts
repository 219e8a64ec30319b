import { expect } from 'chai';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';

describe('the resources', () => {
  let server: TestServer;
  let tenant: TestTenant;

  before(async () => {
    server = await startTestServer();
  });
  beforeEach(async () => {
    tenant = await server.createTenant();
  });
  after(() => server.stop());

  const rows = (body: Json) => body.data as Json[];

  it('gives a tenant as it was made and patched, limits and metadata merged by key', async () => {
    const made = await server.admin.post('/api/v1/admin/tenants', {
      name: 'Acme',
      metadata: { a: 1, b: 2 },
      limits: { requests_per_minute: 5, providers: ['demo'] },
    });
    expect(made.status).to.equal(201);
    expect(made.body.limits).to.include({ requests_per_minute: 5, tokens_per_minute: null });
    const path = `/api/v1/admin/tenants/${made.body.id}`;
    const patched = await server.admin.patch(path, {
      name: 'Acme 2',
      metadata: { a: null, c: 3 },
      limits: { requests_per_minute: null, monthly_spend_usd: 1.5 },
    });
    expect(patched.body).to.include({ name: 'Acme 2', status: 'active' });
    expect(patched.body.metadata).to.deep.equal({ b: 2, c: 3 });
    expect(patched.body.limits).to.deep.include({
      requests_per_minute: null,
      monthly_spend_usd: 1.5,
      providers: ['demo'],
    });
    expect((await server.admin.get(path)).body).to.deep.equal(patched.body);
    expect((await server.admin.patch(path, {})).body).to.deep.equal(patched.body);
  });

  it('pages through a list with its cursor, newest first', async () => {
    const names = ['one', 'two', 'three'];
    for (const name of names) await server.createConfig(tenant.client, { name });
    const seen: unknown[] = [];
    let cursor: unknown = null;
    do {
      const query = cursor === null ? '' : `&cursor=${cursor}`;
      const { body } = await tenant.client.get(`/api/v1/configs?limit=2${query}`);
      seen.push(...rows(body).map(({ name }) => name));
      cursor = body.next_cursor;
    } while (cursor !== null);
    expect(seen).to.deep.equal([...names].reverse());
  });

  it('keeps versions of a config and rolls back to one', async () => {
    const id = await server.createConfig(tenant.client, { system_prompt: 'first' });
    const path = `/api/v1/configs/${id}`;
    const changed = await tenant.client.patch(path, { system_prompt: 'second', agent_type: 'disembodied' });
    expect(changed.body).to.include({ config_id: id, version: 2, system_prompt: 'second' });
    expect(changed.body.agent_type).to.equal('client-side');
    expect((await tenant.client.patch(path, {})).body).to.deep.equal(changed.body);
    const back = await tenant.client.post(`${path}/rollback`, { version: 1 });
    expect(back.body).to.include({ version: 3, system_prompt: 'first' });
    const versions = await tenant.client.get(`${path}/versions`);
    expect(rows(versions.body).map(({ version }) => version)).to.deep.equal([3, 2, 1]);
    const taken = await tenant.client.post('/api/v1/configs', {
      name: 'Assistant',
      model_config: { provider: 'demo', model: 'demo' },
    });
    expect([taken.status, taken.body.code]).to.deep.equal([409, 'already_exists']);
    expect((await tenant.client.delete(path)).status).to.equal(204);
    expect((await tenant.client.get(path)).status).to.equal(404);
    expect((await tenant.client.delete(path)).status).to.equal(404);
  });

  it('reads back conversations, messages, logs and usage of its turns', async () => {
    const config = await server.createConfig(tenant.client);
    const first = await tenant.client.chat(config, { message: 'Hi', user: 'u-17', metadata: { a: 1 } });
    const id = first.body.conversation_id;
    await tenant.client.chat(config, { message: 'Again', conversation_id: id });

    const listed = await tenant.client.get(`/api/v1/conversations?config_id=${config}&user=u-17`);
    expect(rows(listed.body)).to.have.length(1);
    expect(rows(listed.body)[0]).to.deep.include({
      id,
      status: 'idle',
      message_count: 4,
      metadata: { a: 1 },
    });
    const patched = await tenant.client.patch(`/api/v1/conversations/${id}`, {
      title: 'T',
      metadata: { b: 2 },
    });
    expect(patched.body).to.deep.include({ title: 'T', metadata: { a: 1, b: 2 } });

    const whole = await tenant.client.get(`/api/v1/conversations/${id}`);
    const messages = whole.body.messages as Json[];
    expect(messages.map(({ role }) => role)).to.deep.equal(['user', 'assistant', 'user', 'assistant']);
    expect(whole.body.messages_cursor).to.equal(null);
    const newest = await tenant.client.get(`/api/v1/conversations/${id}/messages?limit=1`);
    expect(rows(newest.body)).to.deep.equal(messages.slice(-1));

    const logs = await tenant.client.get(`/api/v1/logs?conversation_id=${id}&status=ok&since=2020-01-01`);
    expect(rows(logs.body)).to.have.length(2);
    expect(rows(logs.body)[1]).to.deep.include({
      request_id: first.headers.get('x-request-id'),
      user: 'u-17',
      usage: first.body.usage,
      cost_usd: 0,
    });
    for (const [group, key] of [
      ['day', 'day'],
      ['model', 'model'],
      ['config', 'config_id'],
    ]) {
      const { body } = await tenant.client.get(`/api/v1/usage?group_by=${group}`);
      expect(rows(body)).to.have.length(1);
      expect(rows(body)[0]).to.include({ turns: 2, errors: 0 }).and.to.have.property(String(key));
    }
    expect((await tenant.client.delete(`/api/v1/conversations/${id}`)).status).to.equal(204);
    expect((await tenant.client.get(`/api/v1/conversations/${id}`)).status).to.equal(404);
    expect(rows((await tenant.client.get('/api/v1/logs')).body)).to.have.length(2);
  });

  it('says in /me whom a key speaks for', async () => {
    const { body } = await tenant.client.get('/api/v1/me');
    expect(body.tenant).to.include({ id: tenant.id, name: 'Acme', status: 'active' });
    expect((body.key as Json).scopes).to.have.members(['chat', 'read', 'manage']);
  });

  it('gives a key the name, scopes and expiry asked for', async () => {
    const path = `/api/v1/admin/tenants/${tenant.id}/keys`;
    const { status, body } = await server.admin.post(path, {
      name: 'website',
      scopes: ['chat'],
      expires_at: '2999-01-01T00:00:00+01:00',
    });
    expect(status).to.equal(201);
    expect(body).to.include({ name: 'website', expires_at: '2998-12-31T23:00:00.000Z', revoked_at: null });
    const { api_key, ...row } = body;
    expect(api_key).to.match(new RegExp(`^${row.prefix}_`));
    expect(rows((await server.admin.get(path)).body)[0]).to.deep.equal(row);
  });
});
