import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { TENANT_MIGRATIONS } from '../../../tenant-schema/sqlite/migrations.ts';
import { defineMigrations } from '../../../tenant-schema/sqlite/migrator.ts';
import {
  type Json,
  readEvents,
  type StreamEvent,
  startTestServer,
  type TestServer,
} from '../../support/http.ts';
import { startServerProcess } from '../../support/process.ts';
import { temporaryFolder } from '../../support/tenants.ts';

/** What a later release might do: a column more, in a table that is written anew. */
const LATER = defineMigrations([
  ...TENANT_MIGRATIONS,
  {
    version: TENANT_MIGRATIONS.length + 1,
    name: 'a tenant has a region',
    rewritesTables: true,
    sql: `
      CREATE TABLE tenant_new (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL, region TEXT
      ) STRICT, WITHOUT ROWID;
      INSERT INTO tenant_new (id, name, created_at) SELECT id, name, created_at FROM tenant;
      DROP TABLE tenant;
      ALTER TABLE tenant_new RENAME TO tenant;
    `,
  },
]);
const OLD_VERSION = TENANT_MIGRATIONS.length;
const FLEET = '/api/v1/admin/fleet';

/** Changes a file that no server has open. */
function forge(path: string, sql: string): void {
  const db = new Database(path);
  try {
    db.exec(sql);
  } finally {
    db.close();
  }
}

describe('the fleet', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: TestServer;

  const start = async (options: Parameters<typeof startTestServer>[0] = {}) => {
    server = await startTestServer({ dataDir: join(folder.path, 'data'), ...options });
  };
  const fileOf = (id: string) => join(server.dataDir, 'tenants', `${id}.db`);
  const events = async (path: string, body: Json): Promise<StreamEvent[]> => {
    const response = await fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status).to.equal(200);
    const all: StreamEvent[] = [];
    if (response.body) for await (const event of readEvents(response.body)) all.push(event);
    return all;
  };
  const dataOf = (all: StreamEvent[], name: string) =>
    all.filter(({ event }) => event === name).map(({ data }) => data);

  beforeEach(async () => {
    folder = temporaryFolder();
    await start();
  });
  afterEach(async () => {
    await server.close();
    folder.remove();
  });

  it('is migrated but for the one file that cannot be, which is listed with its reason', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 30; count += 1) ids.push((await server.createTenant()).id);
    const files = Number((await server.admin.get(FLEET)).body.files);
    expect(files).to.be.at.least(30);
    await server.close();
    const [bad = '', good = ''] = ids;
    forge(fileOf(bad), `UPDATE migrations SET hash = 'of another step'`);
    await start({ tenantMigrations: LATER });

    expect((await server.admin.get(FLEET)).body).to.deep.equal({
      latest_version: OLD_VERSION + 1,
      files,
      versions: [{ schema_version: OLD_VERSION, files }],
      quarantined: [],
    });
    const first = await events(`${FLEET}/migrate`, { parallel: 3 });
    const failed = dataOf(first, 'failed');
    expect(failed).to.have.length(1);
    expect(failed[0]).to.include({ tenant_id: bad });
    expect(failed[0]?.reason).to.match(/is not the one that the database was made with/);
    expect(dataOf(first, 'done')).to.deep.equal([{ migrated: files - 1, current: 0, failed }]);
    expect(first.at(-1)?.event).to.equal('done');
    expect(dataOf(first, 'progress').at(-1)).to.deep.equal({ done: files, total: files });

    expect((await server.admin.get(FLEET)).body).to.deep.equal({
      latest_version: OLD_VERSION + 1,
      files,
      versions: [
        { schema_version: OLD_VERSION + 1, files: files - 1 },
        { schema_version: OLD_VERSION, files: 1 },
      ],
      quarantined: failed,
    });
    const kept = (await server.admin.get(`/api/v1/admin/tenants/${good}/backups`)).body.data as Json[];
    expect(kept.map(({ trigger, schema_version }) => [trigger, schema_version])).to.deep.equal([
      ['migration', OLD_VERSION],
    ]);
    expect(readdirSync(join(server.dataDir, 'tmp'))).to.deep.equal([]);
    // Another process knows the reason too, and goes on where this one has ended.
    await server.close();
    await start({ tenantMigrations: LATER });
    expect((await server.admin.get(FLEET)).body.quarantined).to.deep.equal(failed);
    expect(dataOf(await events(`${FLEET}/migrate`, {}), 'done')).to.deep.equal([
      { migrated: 0, current: files - 1, failed },
    ]);
  });

  it('has the failures of a migration that was killed on its list, and takes one migration at a time', async () => {
    await server.createTenant();
    const made = await server.createTenant();
    await server.createTenant();
    const demo = ((await server.admin.get('/api/v1/admin/tenants')).body.data as Json[]).at(-1);
    await server.close();
    const bad = String(demo?.id);
    forge(fileOf(bad), `UPDATE migrations SET hash = 'of another step'`);
    // The server of a process of its own hashes in earnest.
    const forgetToken = () => forge(join(server.dataDir, 'control.db'), 'DELETE FROM admin_tokens');
    forgetToken();
    // Keeps the run from its end.
    const other = new Database(fileOf(made.id));
    other.exec('BEGIN EXCLUSIVE');
    const running = await startServerProcess({
      command: [process.execPath, '--import', 'tsx', 'test/crash/next-release.ts'],
      env: { DATA_DIR: server.dataDir, PORT: '0', ADMIN_TOKEN: server.adminToken },
    });
    try {
      const migrate = () =>
        fetch(`${running.url}${FLEET}/migrate`, {
          method: 'POST',
          headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Type': 'application/json' },
          body: JSON.stringify({ parallel: 1 }),
        });
      const { body } = await migrate();
      if (!body) throw new Error('an answer without a body');
      const stream = readEvents(body);
      let event: StreamEvent | undefined;
      while (event?.event !== 'failed') event = (await stream.next()).value;
      expect(event?.data.tenant_id).to.equal(bad);
      const second = await migrate();
      expect([second.status, ((await second.json()) as Json).code]).to.deep.equal([
        429,
        'concurrency_limited',
      ]);
      await running.end('SIGKILL');
      await stream.next().catch(() => undefined);
    } finally {
      await running.end('SIGKILL');
      other.close();
    }
    const listed = JSON.parse(readFileSync(join(server.dataDir, 'quarantine.json'), 'utf8')) as Json;
    expect(Object.keys(listed)).to.deep.equal([bad]);
    forgetToken();
    await start();
  });

  it('counts a file that is none of ours as quarantined, and leaves it alone', async () => {
    const { id } = await server.createTenant();
    await server.close();
    writeFileSync(
      fileOf(id),
      'not a database at all, but longer than the hundred bytes that a header has: '.repeat(3),
    );
    await start();
    const { body } = await server.admin.get(FLEET);
    expect(body.quarantined).to.deep.equal([{ tenant_id: id, reason: 'It is not a SQLite database.' }]);
    expect(dataOf(await events(`${FLEET}/migrate`, {}), 'failed')).to.deep.equal(body.quarantined);
  });

  it('can be asked for by the admin only', async () => {
    const { client } = await server.createTenant();
    expect((await client.get(FLEET)).status).to.equal(401);
    expect((await client.post('/api/v1/admin/doctor', {})).status).to.equal(401);
    expect((await server.admin.post(`${FLEET}/migrate`, { parallel: 0 })).status).to.equal(422);
  });

  it('has files that stand alone after quiesce, but for one that another program has open', async () => {
    const tenant = await server.createTenant();
    const path = `/api/v1/admin/tenants/${tenant.id}/quiesce`;
    await server.createConfig(tenant.client);
    expect(existsSync(`${fileOf(tenant.id)}-wal`)).to.equal(true);
    expect((await server.admin.post(path, {})).body).to.deep.equal({ standalone: true });
    expect(existsSync(`${fileOf(tenant.id)}-wal`)).to.equal(false);

    const other = new Database(fileOf(tenant.id), { readonly: true });
    try {
      other.exec('BEGIN');
      other.prepare('SELECT count(*) FROM configs').get();
      await server.createConfig(tenant.client, { name: 'Another' });
      expect((await server.admin.post(path, {})).body).to.deep.equal({ standalone: false });
    } finally {
      other.close();
    }
    const unknown = path.replace(tenant.id, '01a2b3c4-0000-7000-8000-000000000000');
    expect((await server.admin.post(unknown, {})).status).to.equal(404);
  });

  describe('and its doctor', () => {
    const examine = async (fix = false) => {
      const all = await events('/api/v1/admin/doctor', { fix });
      expect(all.at(-1)?.event).to.equal('done');
      return { findings: dataOf(all, 'finding'), done: all.at(-1)?.data ?? {} };
    };
    const told = (findings: Json[]) => findings.map(({ kind, path }) => [kind, path]);

    it('find nothing in a folder that is as it should be, and change nothing', async () => {
      const tenant = await server.createTenant();
      await server.createConfig(tenant.client);
      await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/backups`, {});
      const gone = await server.createTenant();
      await server.admin.delete(`/api/v1/admin/tenants/${gone.id}`);
      // One whose file is closed and stands alone, which it must still do afterwards.
      await server.createTenant();
      const before = readdirSync(server.dataDir, { recursive: true }).sort();
      const { findings, done } = await examine();
      expect(findings).to.deep.equal([]);
      expect(done).to.include({ findings: 0, fixed: 0 });
      const files = readdirSync(join(server.dataDir, 'tenants')).filter((name) => name.endsWith('.db'));
      const sizes = files.map((name) => statSync(join(server.dataDir, 'tenants', name)).size);
      expect(done).to.include({
        checked: files.length,
        size_bytes: sizes.reduce((sum, size) => sum + size, 0),
      });
      expect(done.versions).to.deep.equal([
        { schema_version: TENANT_MIGRATIONS.length, files: files.length },
      ]);
      expect(readdirSync(server.dataDir, { recursive: true }).sort()).to.deep.equal(before);
    });

    it('find nothing wrong while turns run and tenants come, go and are backed up', async () => {
      const tenants = await Promise.all(['a', 'b'].map((name) => server.createTenant({ name })));
      let over = false;
      const chats = tenants.map(async ({ client }) => {
        const configId = await server.createConfig(client);
        while (!over) expect((await client.chat(configId, { message: 'hello' })).status).to.equal(200);
      });
      const files = async () => {
        while (!over) {
          const { id } = await server.createTenant({ name: 'Passing' });
          await server.admin.post(`/api/v1/admin/tenants/${id}/backups`, {});
          await server.admin.delete(`/api/v1/admin/tenants/${id}`);
          await server.admin.delete(`/api/v1/admin/tenants/${id}?purge=true`);
        }
      };
      const busy = [...chats, files()];
      try {
        expect((await examine()).findings).to.deep.equal([]);
      } finally {
        over = true;
        await Promise.all(busy);
      }
    });

    it('find damage, wrong owners, orphans, lost files and links', async () => {
      const [damaged, owned, lost, linked] = await Promise.all(
        ['damaged', 'owned', 'lost', 'linked'].map((name) => server.createTenant({ name })),
      );
      if (!damaged || !owned || !lost || !linked) throw new Error('four tenants');
      await server.close();
      forge(fileOf(damaged.id), 'CREATE TABLE extra (id INTEGER)');
      forge(fileOf(owned.id), `UPDATE tenant SET id = '${lost.id}'`);
      const orphan = '01a2b3c4-0000-7000-8000-000000000000';
      renameSync(fileOf(lost.id), fileOf(orphan));
      renameSync(fileOf(linked.id), join(folder.path, 'elsewhere.db'));
      symlinkSync(join(folder.path, 'elsewhere.db'), fileOf(linked.id));
      writeFileSync(join(server.dataDir, 'tenants', 'notes.txt'), '', { mode: 0o600 });
      const backups = join(server.dataDir, 'backups', damaged.id);
      mkdirSync(backups, { recursive: true, mode: 0o700 });
      writeFileSync(join(backups, 'x.db'), '', { mode: 0o600 });
      writeFileSync(join(backups, 'y.json'), '', { mode: 0o600 });
      writeFileSync(join(server.dataDir, 'trash', `${orphan}.db`), '', { mode: 0o600 });
      await start();

      const { findings, done } = await examine(true);
      expect(told(findings)).to.have.deep.members([
        ['damaged', `tenants/${damaged.id}.db`],
        ['wrong_owner', `tenants/${owned.id}.db`],
        ['wrong_owner', `tenants/${orphan}.db`],
        ['file_without_tenant', `tenants/${orphan}.db`],
        ['tenant_without_file', `tenants/${lost.id}.db`],
        ['symlink', `tenants/${linked.id}.db`],
        ['unknown_file', 'tenants/notes.txt'],
        ['without_manifest', `backups/${damaged.id}/x.db`],
        ['without_file', `backups/${damaged.id}/y.json`],
        ['file_without_tenant', `trash/${orphan}.db`],
      ]);
      expect(done).to.include({ fixed: 0 });
      expect(existsSync(join(server.dataDir, 'tenants', 'notes.txt'))).to.equal(true);
    });

    it('set right modes, names and leftovers, and only when asked to', async () => {
      const { id } = await server.createTenant({ name: 'Acme' });
      await server.close();
      forge(fileOf(id), `UPDATE tenant SET name = 'An old name'`);
      await start();
      chmodSync(fileOf(id), 0o644);
      chmodSync(join(server.dataDir, 'backups'), 0o755);
      const leftover = join(server.dataDir, 'tenants', '.creating', 'half.db');
      const young = join(server.dataDir, 'tenants', '.creating', 'young.db');
      for (const path of [leftover, young]) writeFileSync(path, '', { mode: 0o600 });
      const twoDaysAgo = Date.now() / 1000 - 2 * 24 * 60 * 60;
      utimesSync(leftover, twoDaysAgo, twoDaysAgo);

      const expected = [
        ['permissions', `tenants/${id}.db`],
        ['permissions', 'backups'],
        ['leftover', 'tenants/.creating/half.db'],
        ['other_name', `tenants/${id}.db`],
      ];
      const looked = await examine();
      expect(told(looked.findings)).to.have.deep.members(expected);
      expect(looked.findings.every(({ fixable, fixed }) => fixable && !fixed)).to.equal(true);
      expect(existsSync(leftover)).to.equal(true);
      expect(statSync(fileOf(id)).mode & 0o777).to.equal(0o644);

      const fixed = await examine(true);
      expect(told(fixed.findings)).to.have.deep.members(expected);
      expect(fixed.done).to.include({ findings: 4, fixed: 4 });
      expect(existsSync(leftover)).to.equal(false);
      expect(existsSync(young)).to.equal(true);
      expect((await examine()).findings).to.deep.equal([]);
    });

    it('find the row of the audit at which it was tampered with', async () => {
      const { id } = await server.createTenant();
      const [row] = (await server.admin.get(`/api/v1/admin/audit?tenant_id=${id}&action=tenant.create`)).body
        .data as Json[];
      await server.close();
      forge(join(server.dataDir, 'control.db'), `UPDATE audit SET changes = '{}' WHERE target_id = '${id}'`);
      await start();
      const { findings } = await examine(true);
      expect(told(findings)).to.deep.equal([['audit_broken', 'control.db']]);
      expect(findings[0]).to.include({ fixable: false });
      expect(findings[0]?.message).to.include(row?.id);
    });

    it('find tenants that no key opens, and damage in control.db', async () => {
      const { id } = await server.createTenant();
      const keys = (await server.admin.get(`/api/v1/admin/tenants/${id}/keys`)).body.data as Json[];
      await server.admin.delete(`/api/v1/admin/tenants/${id}/keys/${String(keys[0]?.id)}`);
      const { findings } = await examine();
      expect(findings.map(({ kind, tenant_id }) => [kind, tenant_id])).to.deep.equal([['no_usable_key', id]]);

      await server.close();
      // A key of a tenant that is not there.
      forge(
        join(server.dataDir, 'control.db'),
        `PRAGMA foreign_keys = OFF; UPDATE api_keys SET tenant_id = 'nobody' WHERE tenant_id = '${id}'`,
      );
      await start();
      expect(told((await examine()).findings)).to.deep.include(['control_damaged', 'control.db']);
      rmSync(join(server.dataDir, 'quarantine.json'), { force: true });
    });
  });
});
