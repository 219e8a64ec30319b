import { expect } from 'chai';
import { allEndpoints } from '../../../server/endpoints/index.ts';
import { type Reply, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';

const UNKNOWN = '018f0000-0000-7000-8000-000000000000';
const endpoints = allEndpoints({ metricsPublic: false });

describe('access', () => {
  let server: TestServer;
  let tenant: TestTenant;

  before(async () => {
    server = await startTestServer();
    tenant = await server.createTenant();
  });
  after(() => server.stop());

  const call = (method: string, path: string, headers: Record<string, string>): Promise<Reply> =>
    server.fetch(path.replace(/:\w+/g, UNKNOWN), {
      method,
      headers: { 'X-Request-Id': 'same', 'Content-Type': 'application/json', ...headers },
      ...(method !== 'GET' && { body: '{}' }),
    });

  const newKey = async (input: object): Promise<{ id: string; apiKey: string }> => {
    const { body } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, {
      name: 'k',
      ...input,
    });
    return { id: String(body.id), apiKey: String(body.api_key) };
  };

  it('answers one identical 401 to every kind of bad credentials, on every route that needs some', async () => {
    const revoked = await newKey({});
    await server.admin.delete(`/api/v1/admin/tenants/${tenant.id}/keys/${revoked.id}`);
    const wrongSecret = `${tenant.apiKey.slice(0, -1)}${tenant.apiKey.endsWith('a') ? 'b' : 'a'}`;
    const bad: Record<string, string>[] = [
      {},
      { 'X-API-Key': '' },
      { 'X-API-Key': 'nbs_nonsense' },
      { 'X-API-Key': wrongSecret },
      { 'X-API-Key': revoked.apiKey },
      { Authorization: tenant.apiKey },
      { Authorization: 'Basic abc' },
      { Authorization: 'Bearer' },
      { Authorization: 'Bearer not-the-token-at-all' },
    ];
    const answers = new Set<string>();
    for (const { method, path, auth } of endpoints.filter((endpoint) => endpoint.auth !== 'none')) {
      const crossed: Record<string, string> =
        auth === 'admin'
          ? { Authorization: `Bearer ${tenant.apiKey}` }
          : { Authorization: `Bearer ${server.adminToken}` };
      for (const headers of [...(auth === 'tenant' ? bad : bad.slice(0, 3)), crossed]) {
        const reply = await call(method, path, headers);
        expect(reply.status, `${method} ${path} with ${JSON.stringify(headers)}`).to.equal(401);
        expect(reply.headers.get('www-authenticate')).to.match(/^Bearer/);
        answers.add(reply.text);
      }
    }
    expect([...answers]).to.have.length(1);
  });

  it('takes a key in X-API-Key and as a bearer token', async () => {
    expect((await call('GET', '/api/v1/me', { 'X-API-Key': tenant.apiKey })).status).to.equal(200);
    expect((await call('GET', '/api/v1/me', { Authorization: `bearer ${tenant.apiKey}` })).status).to.equal(
      200,
    );
  });

  it('asks for the scope that fits on every route of a tenant', async () => {
    for (const { name, method, scope } of endpoints.filter(({ auth }) => auth === 'tenant')) {
      const expected =
        name === 'getMe'
          ? null
          : name === 'chat'
            ? 'chat'
            : method === 'GET' &&
                !['exportData', 'listKeys', 'listProviderKeys', 'getProviderKey'].includes(name)
              ? 'read'
              : 'manage';
      expect(scope, name).to.equal(expected);
    }
    for (const given of ['chat', 'read', 'manage'] as const) {
      const { apiKey } = await newKey({ scopes: [given] });
      for (const { method, path, scope } of endpoints.filter(({ auth }) => auth === 'tenant')) {
        const { status, body } = await call(method, path, { 'X-API-Key': apiKey });
        if (scope === null || scope === given) expect(status, path).not.to.equal(403);
        else expect([status, body.code], path).to.deep.equal([403, 'insufficient_scope']);
      }
    }
  });

  it('refuses a suspended tenant on every route from its next request on, and takes it back', async () => {
    const { id, apiKey } = await server.createTenant();
    const setStatus = (status: string) => server.admin.patch(`/api/v1/admin/tenants/${id}`, { status });
    await setStatus('suspended');
    for (const { method, path } of endpoints.filter(({ auth }) => auth === 'tenant')) {
      const { status, body } = await call(method, path, { 'X-API-Key': apiKey });
      expect([status, body.code], path).to.deep.equal([403, 'tenant_suspended']);
    }
    await setStatus('active');
    expect((await call('GET', '/api/v1/me', { 'X-API-Key': apiKey })).status).to.equal(200);
  });

  it('refuses a revoked key on the very next request', async () => {
    const key = await newKey({});
    const client = server.tenant(key.apiKey);
    expect((await client.get('/api/v1/me')).status).to.equal(200);
    const revoked = await server.admin.delete(`/api/v1/admin/tenants/${tenant.id}/keys/${key.id}`);
    expect([revoked.status, revoked.text]).to.deep.equal([204, '']);
    expect((await client.get('/api/v1/me')).status).to.equal(401);
  });

  it('never shows a key again after it was made', async () => {
    const { id, apiKey } = await server.createTenant();
    const secret = apiKey.split('_')[2] ?? '';
    expect(secret).to.have.length.greaterThan(40);
    const shown = await Promise.all([
      server.admin.get('/api/v1/admin/tenants'),
      server.admin.get(`/api/v1/admin/tenants/${id}`),
      server.admin.get(`/api/v1/admin/tenants/${id}/keys`),
      server.tenant(apiKey).get('/api/v1/me'),
    ]);
    for (const { text } of shown) expect(text).not.to.include(secret).and.not.to.include('hash');
    expect(JSON.stringify(server.logs())).not.to.include(secret).and.not.to.include(server.adminToken);
  });

  it("answers another tenant's resources exactly as what never existed, on every route", async () => {
    const owner = await server.createTenant();
    const configId = await server.createConfig(owner.client, { name: 'CANARY' });
    const { body } = await owner.client.chat(configId, { message: 'CANARY' });
    const conversationId = String(body.conversation_id);
    const stranger = await server.createTenant();
    const BODIES: Record<string, object> = {
      chat: { message: 'Hi' },
      rollbackConfig: { version: 1 },
      putProviderKey: { api_key: 'sk-of-the-stranger' },
    };
    const ask = (method: string, path: string, name: string, id: string) =>
      server.fetch(path.replace(/:\w+/, id), {
        method,
        headers: {
          'X-API-Key': stranger.apiKey,
          'X-Request-Id': 'same',
          'Content-Type': 'application/json',
        },
        ...(method !== 'GET' && { body: JSON.stringify(BODIES[name] ?? {}) }),
      });
    for (const { name, method, path, auth } of endpoints) {
      if (auth !== 'tenant') continue;
      if (!path.includes(':')) {
        if (method !== 'GET') continue;
        const reply = await ask(method, path, name, '');
        expect(reply.text, path).not.to.include('CANARY').and.not.to.include(configId);
        continue;
      }
      const id = path.includes('conversations') ? conversationId : configId;
      const [foreign, unknown] = await Promise.all([
        ask(method, path, name, id),
        ask(method, path, name, UNKNOWN),
      ]);
      expect(foreign.status, path).to.equal(404);
      expect(foreign.text).to.equal(unknown.text);
    }
    const own = await server.createConfig(stranger.client);
    const continued = await stranger.client.chat(own, { message: 'Hi', conversation_id: conversationId });
    expect([continued.status, continued.body.code]).to.deep.equal([404, 'not_found']);
    const filtered = await stranger.client.get(`/api/v1/conversations?config_id=${configId}`);
    expect(filtered.body.data).to.deep.equal([]);
    expect((await owner.client.get(`/api/v1/conversations/${conversationId}`)).status).to.equal(200);
  });
});
