import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { allEndpoints } from '../../../server/endpoints/index.ts';
import { type Json, startTestServer, type TestServer } from '../../support/http.ts';

const AUDIT = '/api/v1/admin/audit';
const REQUEST_ID = 'the-request-that-did-it';

describe('the audit over HTTP', () => {
  let server: TestServer;
  before(async () => {
    server = await startTestServer();
  });
  after(() => server.stop());

  const rows = async (query: string) => (await server.admin.get(`${AUDIT}?${query}`)).body.data as Json[];

  /** Everything that changes something for the operator, or a key: what to send and what is written down of it. */
  interface Case {
    action: string | null;
    path: string;
    method?: string;
    body?: Json | Buffer;
    /** With the tenant's own key. */
    own?: true;
  }

  it('has a row for every call that changes something, with actor, request and no secret', async function () {
    // Some of the calls copy files, each in a process of its own.
    this.timeout(60_000);
    const admin = async (method: string, path: string, body?: Json) =>
      (
        await server.fetch(`/api/v1/admin/${path}`, {
          method,
          headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Type': 'application/json' },
          ...(body && { body: JSON.stringify(body) }),
        })
      ).body;
    const made = async (name: string) => {
      const { id, apiKey } = await server.createTenant({ name });
      return { id, apiKey };
    };
    const acme = await made('Acme');
    const gone = await made('Gone');
    const lost = await made('Lost');
    await admin('DELETE', `tenants/${lost.id}`);
    const keyOf = async (name: string) =>
      String((await admin('POST', `tenants/${acme.id}/keys`, { name })).id);
    const keys = await Promise.all(['a', 'b', 'c', 'd'].map(keyOf));
    const backup = String((await admin('POST', `tenants/${acme.id}/backups`)).id);
    const token = String((await admin('POST', 'tokens', { name: 'second', role: 'operator' })).id);
    const file = (await server.download(`/api/v1/admin/tenants/${acme.id}/export`)).bytes;
    const tenant = `/api/v1/admin/tenants/${acme.id}`;
    const secret = { api_key: 'sk-canary-0123456789abcdef' };

    const cases: Record<string, Case> = {
      createTenant: { action: 'tenant.create', path: '/api/v1/admin/tenants', body: { name: 'New' } },
      updateTenant: {
        action: 'tenant.update',
        path: tenant,
        body: { limits: { requests_per_minute: 600 }, settings: { log_content: true } },
      },
      importTenant: { action: 'tenant.import', path: '/api/v1/admin/tenants/import?name=x', body: file },
      cloneTenant: { action: 'tenant.clone', path: `${tenant}/clone`, body: { name: 'y' } },
      deleteTenant: { action: 'tenant.delete', path: `/api/v1/admin/tenants/${gone.id}` },
      undeleteTenant: { action: 'tenant.undelete', path: `/api/v1/admin/tenants/${lost.id}/undelete` },
      createControlBackup: { action: 'backup.create', path: '/api/v1/admin/backups/control' },
      createBackup: { action: 'backup.create', path: `${tenant}/backups` },
      getBackup: { action: 'backup.download', path: `${tenant}/backups/${backup}`, method: 'GET' },
      exportTenant: { action: 'tenant.export', path: `${tenant}/export`, method: 'GET' },
      exportData: { action: 'tenant.export', path: '/api/v1/export', method: 'GET', own: true },
      restoreTenant: { action: 'tenant.restore', path: `${tenant}/restore`, body: { backup_id: backup } },
      quiesceTenant: { action: 'tenant.quiesce', path: `${tenant}/quiesce` },
      createTenantKey: { action: 'key.create', path: `${tenant}/keys`, body: { name: 'z' } },
      rotateTenantKey: { action: 'key.rotate', path: `${tenant}/keys/${keys[0]}/rotate` },
      revokeTenantKey: { action: 'key.revoke', path: `${tenant}/keys/${keys[1]}` },
      createKey: { action: 'key.create', path: '/api/v1/keys', body: { name: 'own' }, own: true },
      rotateKey: { action: 'key.rotate', path: `/api/v1/keys/${keys[2]}/rotate`, own: true },
      revokeKey: { action: 'key.revoke', path: `/api/v1/keys/${keys[3]}`, own: true },
      putTenantProviderKey: { action: 'provider_key.put', path: `${tenant}/providers/openai`, body: secret },
      deleteTenantProviderKey: { action: 'provider_key.delete', path: `${tenant}/providers/openai` },
      putProviderKey: { action: 'provider_key.put', path: '/api/v1/providers/xai', body: secret, own: true },
      deleteProviderKey: { action: 'provider_key.delete', path: '/api/v1/providers/xai', own: true },
      createAdminToken: {
        action: 'admin_token.create',
        path: '/api/v1/admin/tokens',
        body: { name: 'third', role: 'auditor' },
      },
      revokeAdminToken: { action: 'admin_token.revoke', path: `/api/v1/admin/tokens/${token}` },
      rotateMasterKey: { action: 'master_key.rotate', path: '/api/v1/admin/master-key/rotate' },
      migrateFleet: { action: 'fleet.migrate', path: '/api/v1/admin/fleet/migrate' },
      runDoctor: { action: 'doctor.fix', path: '/api/v1/admin/doctor', body: { fix: true } },
      pruneLogs: { action: 'logs.prune', path: '/api/v1/admin/logs/prune' },
      rebuildUsage: { action: 'usage.rebuild', path: '/api/v1/admin/usage/rebuild' },
    };
    const endpoints = allEndpoints({ metricsPublic: false });
    const changing = endpoints.filter(
      ({ auth, method, givesFile, path }) =>
        (auth === 'admin' && (method !== 'GET' || givesFile !== null)) ||
        (auth === 'tenant' &&
          (/^\/api\/v1\/(keys|providers)/.test(path) ? method !== 'GET' : givesFile !== null)),
    );
    expect(changing.map(({ name }) => name)).to.have.members(Object.keys(cases));

    const texts: string[] = [];
    for (const { name, method } of Object.keys(cases).flatMap(
      (key) => changing.find((endpoint) => endpoint.name === key) ?? [],
    )) {
      const { action, path, body, own } = cases[name] ?? { action: null, path: '' };
      const isFile = body instanceof Buffer;
      const requestId = `${REQUEST_ID}-${name}`;
      const reply = await server.fetch(path, {
        method,
        headers: {
          'X-Request-Id': requestId,
          'Content-Type': isFile ? 'application/vnd.sqlite3' : 'application/json',
          ...(own ? { 'X-API-Key': acme.apiKey } : { Authorization: `Bearer ${server.adminToken}` }),
        },
        ...(body && { body: isFile ? body : JSON.stringify(body) }),
      });
      expect(reply.status, `${name}: ${reply.text.slice(0, 300)}`).to.be.lessThan(300);
      const found = (await rows('limit=20')).filter((row) => row.request_id === requestId);
      expect(
        found.map((row) => row.action),
        name,
      ).to.include(action);
      for (const row of found) {
        const { kind, name: actor } = row.actor as Json;
        expect([kind, actor], name).to.deep.equal(own ? ['key', 'default'] : ['admin', 'admin']);
      }
      texts.push(JSON.stringify(found), String(reply.body.api_key ?? ''), String(reply.body.token ?? ''));
    }
    const everything = JSON.stringify(await rows('limit=100'));
    const secrets = [
      ...texts.filter((text) => /^nb[as]_/.test(text)),
      acme.apiKey,
      server.adminToken,
      secret.api_key,
    ];
    expect(secrets.length).to.be.greaterThan(8);
    for (const text of secrets) expect(everything.includes(text), text.slice(0, 12)).to.equal(false);
  });

  it('says who asked and what changed, from what to what', async () => {
    const { id } = await server.createTenant({ limits: { requests_per_minute: 5 } });
    await server.admin.patch(`/api/v1/admin/tenants/${id}`, {
      limits: { requests_per_minute: null },
      settings: { log_content: true },
    });
    const [row = {}] = await rows(`tenant_id=${id}&action=tenant.update`);
    expect(row).to.deep.include({
      tenant_id: id,
      target_id: id,
      changes: {
        limits: { requests_per_minute: { from: 5, to: null } },
        settings: { log_content: { from: false, to: true } },
      },
    });
    expect(await rows(`tenant_id=${id}&actor=admin`)).to.have.length(3);
    expect(await rows(`tenant_id=${id}&actor=${String((row.actor as Json).id)}`)).to.have.length(3);
    expect(await rows(`tenant_id=${id}&until=2020-01-01`)).to.deep.equal([]);
    for (const query of ['tenant_id=x', 'since=x', 'limit=0', 'cursor=x', 'who=x']) {
      expect((await server.admin.get(`${AUDIT}?${query}`)).status, query).to.equal(422);
    }
  });

  it('says what became of work that goes on for a while', async () => {
    const changes = async (action: string, path: string, body: Json) => {
      expect((await server.admin.post(path, body)).status).to.equal(200);
      return (await rows(`action=${action}&limit=2`)).map((row) => row.changes);
    };
    expect(await changes('logs.prune', '/api/v1/admin/logs/prune', { days: 1 })).to.deep.equal([
      { state: 'done', removed: 0 },
      { state: 'begun', days: 1 },
    ]);
    const backups = join(server.dataDir, 'backups');
    chmodSync(backups, 0o755);
    expect(await changes('doctor.fix', '/api/v1/admin/doctor', { fix: true })).to.deep.equal([
      { state: 'done', count: 1, fixed: ['permissions backups'] },
      { state: 'begun' },
    ]);
  });

  it('refuses an action that there is none of, and says which there are', async () => {
    const { status, body } = await server.admin.get('/api/v1/admin/audit?action=key.destroy');
    expect(status).to.equal(422);
    expect(body.errors).to.have.nested.property('[0].path', 'action');
    expect(JSON.stringify(body.errors)).to.contain('key.revoke');
  });

  it('has no row for a call that is refused', async () => {
    const { id, client } = await server.createTenant();
    const count = async () => (await rows(`tenant_id=${id}`)).length;
    const before = await count();
    await server.admin.patch(`/api/v1/admin/tenants/${id}`, { limits: { requests_per_minute: -1 } });
    await server.admin.delete(`/api/v1/admin/tenants/${id}/keys/018f0000-0000-7000-8000-000000000000`);
    await client.post('/api/v1/keys', { name: 'x', scopes: ['everything'] });
    expect(await count()).to.equal(before);
  });
});
