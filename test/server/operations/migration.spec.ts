import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TENANT_MIGRATIONS } from '../../../tenant-schema/sqlite/migrations.ts';
import { defineMigrations } from '../../../tenant-schema/sqlite/migrator.ts';
import { NEXT_MIGRATIONS } from '../../crash/next-schema.ts';
import { filesIn } from '../../support/files.ts';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';
import { startServerProcess } from '../../support/process.ts';
import { ask, grow, hashOf, until } from '../../support/tenant-files.ts';
import { temporaryFolder } from '../../support/tenants.ts';

const OLD = TENANT_MIGRATIONS.length;
const [last] = NEXT_MIGRATIONS.steps.slice(-1);
const FAILING = defineMigrations([
  ...TENANT_MIGRATIONS,
  {
    version: OLD + 1,
    name: 'fails',
    rewritesTables: true,
    sql: `${last?.sql} INSERT INTO nowhere VALUES (1);`,
  },
]);

describe('what a tenant was before a migration that rewrites tables', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: TestServer;
  let tenant: TestTenant;
  let configId: string;
  const dataDir = () => join(folder.path, 'data');
  const start = async (options: Parameters<typeof startTestServer>[0] = {}) => {
    server = await startTestServer({ dataDir: dataDir(), ...options });
  };
  const path = () => join(dataDir(), 'tenants', `${tenant.id}.db`);
  const backupFiles = () => filesIn(join(dataDir(), 'backups')).filter((name) => name.startsWith(tenant.id));
  const kept = async (): Promise<Json[]> => {
    const { data } = (await server.admin.get(`/api/v1/admin/tenants/${tenant.id}/backups`)).body;
    return (data as Json[]).filter(({ trigger }) => trigger === 'migration');
  };
  const asks = () => server.tenant(tenant.apiKey).chat(configId, { message: 'hello' });

  beforeEach(async () => {
    folder = temporaryFolder();
    await start();
    tenant = await server.createTenant();
    configId = await server.createConfig(tenant.client);
    await server.close();
  });
  afterEach(async () => {
    await server.close();
    folder.remove();
  });

  it('is a backup where its first request has migrated it, also in the middle of a backup that was asked for', async () => {
    await start({ tenantMigrations: NEXT_MIGRATIONS });
    const [first, backup, second] = await Promise.all([
      asks(),
      server.admin.post(`/api/v1/admin/tenants/${tenant.id}/backups`, {}),
      asks(),
    ]);
    expect([first.status, backup.status, second.status]).to.deep.equal([200, 201, 200]);
    expect(backup.body.schema_version).to.equal(OLD + 1);
    const [copy, ...others] = await kept();
    expect(others).to.deep.equal([]);
    expect(copy?.schema_version).to.equal(OLD);
    const file = join(dataDir(), 'backups', tenant.id, `${String(copy?.id)}.db`);
    expect(hashOf(file)).to.equal(copy?.sha256);
    expect(ask(file, 'SELECT count(*) FROM configs')).to.equal(1);
    expect(backupFiles()).to.have.length(4);
  });

  it('has room, or the migration does not begin and each request says so', async () => {
    let free = 0;
    await start({
      tenantMigrations: NEXT_MIGRATIONS,
      diskFreeBytes: async () => free,
      env: { DISK_FREE_BYTES_MIN: '1000000' },
    });
    const before = hashOf(path());
    const refused = await asks();
    expect([refused.status, refused.body.code]).to.deep.equal([507, 'storage_quota_exceeded']);
    expect(refused.body.detail).to.match(/disk is full/);
    expect([hashOf(path()), backupFiles()]).to.deep.equal([before, []]);
    free = 100_000_000;
    expect((await asks()).status).to.equal(200);
    expect(await kept()).to.have.length(1);
  });

  it('stays as one backup where the migration fails, however often it is tried', async () => {
    await start({ tenantMigrations: FAILING });
    const before = hashOf(path());
    expect((await asks()).status).to.equal(503);
    for (const _ of [1, 2]) {
      expect(await server.operations.migrate(tenant.id).catch(String)).to.match(/no such table: nowhere/);
    }
    expect(hashOf(path())).to.equal(before);
    const [copy, ...others] = await kept();
    expect(others).to.deep.equal([]);
    expect(backupFiles()).to.deep.equal(
      ['db', 'json'].map((end) => `${tenant.id}/${String(copy?.id)}.${end}`),
    );
    await server.close();
    await start({ tenantMigrations: NEXT_MIGRATIONS });
    expect((await asks()).status).to.equal(200);
    expect((await kept()).map(({ id }) => id)).to.deep.equal([copy?.id]);
  });

  it('is a backup already when the server is killed before the end', async () => {
    grow(path(), 16 * 1024 * 1024);
    const doomed = await startServerProcess({
      command: [process.execPath, '--import', 'tsx', 'test/crash/next-release.ts'],
      group: true,
      env: { DATA_DIR: dataDir(), PORT: '0', LOG_LEVEL: 'warn' },
    });
    try {
      const { url } = doomed;
      const asked = fetch(`${url}/api/v1/chat/${configId}`, {
        method: 'POST',
        headers: { 'X-API-Key': tenant.apiKey, 'Content-Type': 'application/json' },
        body: JSON.stringify({ message: 'hello' }),
      }).catch(() => null);
      await until(() => backupFiles().some((name) => name.endsWith('.json')));
      await doomed.end('SIGKILL');
      await asked;
    } finally {
      await doomed.end('SIGKILL');
    }
    const [file = ''] = backupFiles();
    const backup = join(dataDir(), 'backups', file);
    expect([ask(backup, 'PRAGMA integrity_check'), ask(backup, 'PRAGMA user_version')]).to.deep.equal([
      'ok',
      OLD,
    ]);
    expect(ask(path(), 'PRAGMA integrity_check')).to.equal('ok');
    await start({ tenantMigrations: NEXT_MIGRATIONS });
    expect((await asks()).status).to.equal(200);
    expect(await kept()).to.have.length(1);
    expect(readdirSync(join(dataDir(), 'tenants', '.creating'))).to.deep.equal([]);
  });
});
