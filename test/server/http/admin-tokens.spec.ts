import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { allEndpoints } from '../../../server/endpoints/index.ts';
import { type Client, type Json, startTestServer, type TestServer } from '../../support/http.ts';

const UNKNOWN = '018f0000-0000-7000-8000-000000000000';
const TOKENS = '/api/v1/admin/tokens';
const ROLES = ['auditor', 'operator', 'owner'] as const;

describe('admin tokens', () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server.stop());

  const withToken = (token: string, method: string, path: string, body?: object) =>
    server.fetch(path, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    });
  const create = async (role: string, client: Client = server.admin, name = `${role} ${randomUUID()}`) => {
    const { status, body, text } = await client.post(TOKENS, { name, role });
    expect(status, text).to.equal(201);
    return { id: String(body.id), token: String(body.token), body };
  };

  it('are made with a name and a role, shown once, listed and revoked', async () => {
    const { id, token, body } = await create('operator', server.admin, 'Ada');
    expect(body).to.include({ name: 'Ada', role: 'operator', last_used_at: null, revoked_at: null });
    expect((await withToken(token, 'GET', '/api/v1/admin/tenants')).status).to.equal(200);
    const listed = await server.admin.get(TOKENS);
    expect(listed.text).not.to.include(token);
    const [row] = listed.body.data as Json[];
    expect(row).to.include({ id, role: 'operator' });
    expect(row?.last_used_at).to.be.a('string');
    expect((await server.admin.delete(`${TOKENS}/${id}`)).status).to.equal(204);
    expect((await withToken(token, 'GET', '/api/v1/admin/tenants')).status).to.equal(401);
    expect((await server.admin.delete(`${TOKENS}/${UNKNOWN}`)).status).to.equal(404);
    for (const input of [{}, { name: 'x' }, { name: 'x', role: 'root' }, { name: '', role: 'owner' }]) {
      expect((await server.admin.post(TOKENS, input)).status).to.equal(422);
    }
    expect((await server.admin.post(TOKENS, { name: 'admin', role: 'owner' })).body.code).to.equal(
      'already_exists',
    );
  });

  it('do on every route what their role allows, and no more', async () => {
    const endpoints = allEndpoints({ metricsPublic: false }).filter(({ auth }) => auth === 'admin');
    const ofOwners = ['createAdminToken', 'listAdminTokens', 'revokeAdminToken', 'rotateMasterKey'];
    const ofOperators = ['exportTenant', 'getBackup'];
    for (const { name, method, role } of endpoints) {
      const expected = ofOwners.includes(name)
        ? 'owner'
        : method === 'GET' && !ofOperators.includes(name)
          ? 'auditor'
          : 'operator';
      expect(role, name).to.equal(expected);
    }
    for (const given of ROLES) {
      const { token } = await create(given);
      for (const { method, path, role, name } of endpoints) {
        const allowed = ROLES.indexOf(given) >= ROLES.indexOf(role ?? 'owner');
        // What all three may do is tried elsewhere; some of it takes long.
        if (allowed && method !== 'GET') continue;
        const url = path.replace(/:\w+/g, UNKNOWN);
        const { status, body } = await withToken(token, method, url, method === 'GET' ? undefined : {});
        if (allowed) expect(status, `${given} ${name}`).not.to.equal(403);
        else expect([status, body.code], `${given} ${name}`).to.deep.equal([403, 'insufficient_scope']);
      }
    }
  });

  it('always leave one of an owner', async () => {
    const last = await create('owner');
    const revoke = (id: unknown) => withToken(last.token, 'DELETE', `${TOKENS}/${id}`);
    const { body } = await server.admin.get(`${TOKENS}?limit=100`);
    for (const { id } of body.data as Json[]) {
      if (id !== last.id) expect((await revoke(id)).status).to.equal(204);
    }
    const refused = await revoke(last.id);
    expect([refused.status, refused.body.code]).to.deep.equal([422, 'validation_failed']);
    expect((await server.admin.get(TOKENS)).status).to.equal(401);
    await server.close();
    // The next start makes the stored one anew, since it is given in the environment.
    server = await startTestServer({ dataDir: server.dataDir });
    expect((await server.admin.get(TOKENS)).status).to.equal(200);
  });

  it('work at once after 300 wrong ones from the same address', async () => {
    const { token, id } = await create('operator');
    const like = `nba_${id.replaceAll('-', '')}_`;
    const answers = new Map<number, number>();
    for (let round = 0; round < 6; round += 1) {
      const replies = await Promise.all(
        Array.from({ length: 50 }, (_, i) =>
          withToken(
            i % 2 === 0 ? `${like}${'x'.repeat(49)}` : `wrong-${round}-${i}-0123456789`,
            'GET',
            TOKENS,
          ),
        ),
      );
      for (const { status, headers } of replies) {
        answers.set(status, (answers.get(status) ?? 0) + 1);
        if (status === 429) expect(headers.get('retry-after')).to.equal('1');
      }
    }
    expect([...answers.keys()].sort()).to.deep.equal([401, 429]);
    expect((await server.admin.get('/api/v1/admin/tenants')).status).to.equal(200);
    expect((await withToken(token, 'GET', '/api/v1/admin/tenants')).status).to.equal(200);
  });
});
