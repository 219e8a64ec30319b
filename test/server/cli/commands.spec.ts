import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { TENANT_MIGRATIONS } from '../../../tenant-schema/sqlite/migrations.ts';
import { type CliOptions, cli } from '../../support/cli.ts';
import { type Json, startTestServer, type TestServer } from '../../support/http.ts';
import { temporaryFolder } from '../../support/tenants.ts';

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const rows = (json: Json) => json.data as Json[];

/** The same promises whether a server runs or the command has to do the work itself. */
for (const mode of ['through a server that runs', 'with no server running'] as const) {
  describe(`the command line ${mode}`, () => {
    let folder: ReturnType<typeof temporaryFolder>;
    let server: TestServer | null;
    let env: Record<string, string>;

    beforeEach(async () => {
      folder = temporaryFolder();
      const dataDir = join(folder.path, 'data');
      server = mode === 'with no server running' ? null : await startTestServer({ dataDir });
      env = { DATA_DIR: dataDir, ...(server && { ADMIN_TOKEN: server.adminToken }) };
    });
    afterEach(async () => {
      await server?.close();
      folder.remove();
    });

    const run = (argv: string[], options: CliOptions = {}) => cli(argv, { env, ...options });
    /** Runs a command that must succeed, and gives its JSON. */
    const json = async (...argv: string[]): Promise<Json> => {
      const result = await run([...argv, '--json']);
      expect(result.code, result.stderr).to.equal(0);
      expect(result.stderr, 'with --json, nothing is said beside it').to.equal('');
      return result.json;
    };

    it('makes, shows, renames, suspends, resumes and lists tenants', async () => {
      const made = await json('tenant', 'create', 'Acme', '--limit', 'requests_per_minute=60');
      expect(made.api_key).to.match(/^nbs_/);
      expect(made.limits).to.include({ requests_per_minute: 60 });
      const id = String(made.id);
      expect((await json('tenant', 'show', 'Acme')).id).to.equal(id);
      expect((await json('tenant', 'rename', id, 'Acme Ltd')).name).to.equal('Acme Ltd');
      expect((await json('tenant', 'suspend', 'Acme Ltd')).status).to.equal('suspended');
      expect((await json('tenant', 'resume', id)).status).to.equal('active');
      expect((await json('tenant', 'set', id, '--limit', 'providers=demo')).limits).to.deep.include({
        requests_per_minute: 60,
        providers: ['demo'],
      });
      const listed = rows(await json('tenant', 'list')).map(({ name }) => name);
      expect(listed).to.include('Acme Ltd');
      expect(rows(await json('tenant', 'list', '--status', 'deleted'))).to.deep.equal([]);
    });

    it('makes, rotates, lists and revokes keys', async () => {
      await json('tenant', 'create', 'Acme');
      const key = await json('key', 'create', 'Acme', '--name', 'website', '--scope', 'chat', 'read');
      expect(key).to.include({ name: 'website' });
      expect(key.scopes).to.deep.equal(['chat', 'read']);
      const rotated = await json('key', 'rotate', 'Acme', String(key.id), '--overlap', '3600');
      expect(rotated.id).to.equal(key.id);
      expect(rotated.api_key).to.match(/^nbs_/).and.not.equal(key.api_key);
      expect((await run(['key', 'rotate', 'Acme', String(key.id), '--overlap', '1d'])).code).to.equal(2);
      await json('key', 'revoke', 'Acme', String(key.id));
      expect((await run(['key', 'rotate', 'Acme', String(key.id)])).code).to.equal(3);
      const listed = rows(await json('key', 'list', 'Acme'));
      expect(listed.map(({ name, revoked_at }) => [name, revoked_at !== null])).to.deep.equal([
        ['website', true],
        ['default', false],
      ]);
      expect(JSON.stringify(listed)).not.to.include(String(key.api_key));
    });

    it('exports a file that it can import, and never replaces one without --force', async () => {
      const { id } = await json('tenant', 'create', 'Acme');
      const target = join(folder.path, 'acme.db');
      const file = await json('tenant', 'export', 'Acme', '-o', target);
      expect(file).to.include({ tenant_id: id, path: target, sha256: sha256(target) });
      expect(file.size_bytes).to.equal(statSync(target).size);
      expect(statSync(target).mode & 0o777).to.equal(0o600);

      writeFileSync(target, 'mine');
      const refused = await run(['tenant', 'export', 'Acme', '-o', target]);
      expect(refused.code).to.equal(4);
      expect(readFileSync(target, 'utf8')).to.equal('mine');
      const told = await run(['tenant', 'export', 'Acme', '-o', target, '--force']);
      expect(told.code).to.equal(0);
      expect(told.stderr)
        .to.include('cp')
        .and.to.include(`${String(id)}.db-wal`);
      expect(readdirSync(folder.path).sort()).to.deep.equal(['acme.db', 'data']);

      const copy = await json('tenant', 'import', target, '--name', 'Acme again');
      expect(copy.name).to.equal('Acme again');
      expect(copy.id).not.to.equal(id);
      writeFileSync(`${target}-wal`, '');
      expect((await run(['tenant', 'import', target, '--name', 'x'])).code).to.equal(4);
      expect((await run(['tenant', 'import', '/nowhere.db', '--name', 'x'])).code).to.equal(3);
      writeFileSync(join(folder.path, 'text.db'), 'not a database');
      const invalid = await run(['tenant', 'import', join(folder.path, 'text.db'), '--name', 'x']);
      expect(invalid.code).to.equal(4);
      expect(invalid.stderr).to.include('not a SQLite database');
    });

    it('backs up, fetches, restores and clones', async () => {
      await json('tenant', 'create', 'Acme');
      expect((await run(['tenant', 'restore', 'Acme', 'latest', '--yes'])).code).to.equal(3);
      const target = join(folder.path, 'today.db');
      const backup = await json('tenant', 'backup', 'Acme', '--download', '-o', target);
      expect(sha256(target)).to.equal(backup.sha256);
      const again = join(folder.path, 'again.db');
      await json('tenant', 'backups', 'Acme', '--download', 'latest', '-o', again);
      expect(sha256(again)).to.equal(backup.sha256);

      const unasked = await run(['tenant', 'restore', 'Acme', 'latest']);
      expect([unasked.code, unasked.stderr.includes('--yes')]).to.deep.equal([2, true]);
      const mistyped = await run(['tenant', 'restore', 'Acme', 'latest'], { typed: 'Acne\n' });
      expect(mistyped.code).to.equal(4);
      expect(rows(await json('tenant', 'backups', 'Acme'))).to.have.length(1);
      const restored = await run(['tenant', 'restore', 'Acme', 'latest'], { typed: 'Acme\n' });
      expect(restored.code, restored.stderr).to.equal(0);
      expect(rows(await json('tenant', 'backups', 'Acme')).map(({ trigger }) => trigger)).to.deep.equal([
        'restore',
        'manual',
      ]);
      // What the first time has replaced is not what is wanted back.
      const twice = await json('tenant', 'restore', 'Acme', 'latest', '--yes');
      expect(twice.restored_backup_id).to.equal(backup.id);
      expect((await json('tenant', 'clone', 'Acme', 'Staging')).name).to.equal('Staging');
    });

    it('backs up control.db, and lists the copies', async () => {
      await json('tenant', 'create', 'Acme');
      const made = await json('backup-control');
      expect(made.path).to.equal(join(folder.path, 'data', 'backups', 'control', `${String(made.id)}.db`));
      expect(sha256(String(made.path))).to.equal(made.sha256);
      expect(rows(await json('backup-control', '--list'))).to.deep.equal([made]);
      const { code, stdout } = await run(['backup-control']);
      expect([code, stdout.includes(String(join('backups', 'control')))]).to.deep.equal([0, true]);
      expect((await run(['backup-control', 'control.db'])).code).to.equal(2);
    });

    it('deletes, brings back and purges', async () => {
      const { id } = await json('tenant', 'create', 'Acme');
      await json('tenant', 'delete', 'Acme');
      expect((await run(['tenant', 'show', String(id)])).code).to.equal(3);
      expect(rows(await json('tenant', 'list', '--status', 'deleted')).map((row) => row.id)).to.deep.equal([
        id,
      ]);
      expect((await json('tenant', 'undelete', 'Acme')).api_key).to.match(/^nbs_/);
      await json('tenant', 'delete', String(id));
      expect((await run(['tenant', 'purge', 'Acme'])).code).to.equal(2);
      expect((await run(['tenant', 'purge', 'Acme'], { typed: 'Acme\n' })).code).to.equal(0);
      expect((await run(['tenant', 'purge', String(id), '--yes'])).code).to.equal(3);
      const files = readdirSync(join(folder.path, 'data'), { recursive: true, encoding: 'utf8' });
      expect(files.filter((name) => name.includes(String(id)))).to.deep.equal([]);
    });

    it('quiesces a tenant and writes nothing but the path for cp', async () => {
      const { id } = await json('tenant', 'create', 'Acme');
      const { code, stdout } = await run(['tenant', 'quiesce', 'Acme']);
      expect(code).to.equal(0);
      expect(stdout).to.equal(`${join(folder.path, 'data', 'tenants', `${String(id)}.db`)}\n`);
      expect(existsSync(`${stdout.trim()}-wal`)).to.equal(false);
    });

    it('finds a tenant by its name, to the letter', async () => {
      const { id } = await json('tenant', 'create', 'Acme & Söhne');
      for (const name of ['Acme', 'acme & söhne']) await json('tenant', 'create', name);
      expect((await json('tenant', 'show', 'Acme & Söhne')).id).to.equal(id);
      expect((await run(['tenant', 'show', 'ACME'])).code).to.equal(3);
      expect((await run(['tenant', 'show', ' '])).code).to.equal(3);
    });

    it('lists the ids where a name is not unambiguous', async () => {
      const ids = [await json('tenant', 'create', 'Twin'), await json('tenant', 'create', 'Twin')].map(
        (made) => String(made.id),
      );
      const { code, stderr } = await run(['tenant', 'delete', 'Twin']);
      expect(code).to.equal(4);
      for (const id of ids) expect(stderr).to.include(id);
    });

    it('names what is missing, and the command that lists what there is', async () => {
      const { id } = await json('tenant', 'create', 'Acme');
      const unknown = '01a2b3c4-0000-7000-8000-000000000000';
      const missing: [string[], string][] = [
        [['tenant', 'show', 'Acne'], 'nimblesite tenant list'],
        [['tenant', 'undelete', 'Acme'], 'nimblesite tenant list --status deleted'],
        [['tenant', 'backups', 'Acme', '--download', 'latest'], 'nimblesite tenant backup'],
        [['tenant', 'backups', 'Acme', '--download', unknown], `nimblesite tenant backups ${String(id)}`],
        [['tenant', 'restore', 'Acme', unknown, '--yes'], `nimblesite tenant backups ${String(id)}`],
        [['key', 'rotate', 'Acme', unknown], `nimblesite key list ${String(id)}`],
        [['key', 'revoke', 'Acme', unknown], `nimblesite key list ${String(id)}`],
        [['provider-key', 'delete', 'Acme', 'openai'], `nimblesite provider-key list ${String(id)}`],
        [['admin-token', 'revoke', unknown], 'nimblesite admin-token list'],
      ];
      for (const [argv, next] of missing) {
        const { code, stdout, stderr } = await run(argv);
        expect([code, stdout], argv.join(' ')).to.deep.equal([3, '']);
        expect(stderr)
          .to.match(/^.*\n$/)
          .and.to.include(`"${next}"`);
      }
      const nobody = await run(['provider-key', 'set', 'Acme', 'nobody'], { typed: 'sk-a-key-of-acme' });
      expect([nobody.code, nobody.stderr.includes('There is no provider "nobody".')]).to.deep.equal([
        3,
        true,
      ]);
    });

    it('writes no export over a folder', async () => {
      await json('tenant', 'create', 'Acme');
      for (const force of [[], ['--force']]) {
        const { code, stderr } = await run(['tenant', 'export', 'Acme', '-o', folder.path, ...force]);
        expect([code, stderr]).to.deep.equal([
          4,
          `${folder.path} is a folder; say the name of a file in it.\n`,
        ]);
      }
    });

    it('says what is wrong with an input, and ends with 2', async () => {
      const { code, stderr, stdout } = await run(['tenant', 'create', '']);
      expect(code).to.equal(2);
      expect(stderr).to.match(/^That is not valid:\n {2}name: .*\n$/);
      expect(stdout).to.equal('');
      const unlimited = await run(['tenant', 'create', 'x', '--limit', 'requests=1']);
      expect([unlimited.code, unlimited.stderr.includes('requests_per_minute')]).to.deep.equal([2, true]);
      expect((await run(['tenant', 'create', 'x', '--limit', 'requests_per_minute=lots'])).code).to.equal(2);
      expect((await run(['tenant', 'shw'])).code).to.equal(2);
      expect((await run(['tenant', 'list', '--bogus'])).code).to.equal(2);
    });

    it('shows what tenants have used, rebuilds it, and shows who did what', async () => {
      const acme = await json('tenant', 'create', 'Acme');
      expect((await json('usage', 'rebuild', '--tenant', 'Acme')).rebuilt).to.equal(1);
      expect(Number((await json('usage', 'rebuild')).rebuilt)).to.be.at.least(1);
      expect(
        rows(await json('usage', '--by', 'both', '--tenant', 'Acme', '--since', '2026-01-01')),
      ).to.deep.equal([]);
      expect((await run(['usage', '--since', 'yesterday'])).code).to.equal(2);
      expect((await run(['usage', 'rebuild', '--tenant', 'nobody'])).code).to.equal(3);

      await json('tenant', 'set', 'Acme', '--log-content', 'on', '--redact-secrets', 'off');
      const shown = await json('tenant', 'show', 'Acme');
      expect(shown.settings).to.deep.equal({ log_content: true, redact_secrets: false });
      const done = rows(await json('audit', '--tenant', 'Acme', '--limit', '3'));
      expect(done.map(({ action }) => action)).to.deep.equal([
        'tenant.update',
        'usage.rebuild',
        'key.create',
      ]);
      const actors = done.map(({ actor }) => (actor as Json).name);
      expect(new Set(actors)).to.deep.equal(new Set([server ? 'admin' : 'command line']));
      const { stdout } = await run(['audit', 'list', '--action', 'tenant.create']);
      expect(stdout).to.include('tenant.create').and.to.include(String(acme.id));
    });

    it('tells the state of the fleet, and finds nothing wrong with what it has made, but what there should be a copy of', async () => {
      await json('tenant', 'create', 'Acme');
      const status = await json('status');
      expect(status).to.include({
        server: server ? 'running' : 'not running',
        latest_version: TENANT_MIGRATIONS.length,
      });
      expect(status.quarantined).to.deep.equal([]);
      expect((await json('migrate')).failed).to.deep.equal([]);
      await run(['provider-key', 'set', 'Acme', 'openai'], { typed: 'sk-a-key-of-acme' });
      const { code, stdout } = await run(['doctor']);
      expect(code).to.equal(0);
      expect(stdout).to.include('0 findings');
      expect(stdout).to.include('Without master.key 1 provider key cannot be opened: keep a copy of it');
    });

    it('keeps ids whole and cuts names where the terminal is narrow', async () => {
      const { id } = await json(
        'tenant',
        'create',
        'A very long name of a tenant that goes on and on and on',
      );
      const { stdout } = await run(['tenant', 'list'], { columns: 90 });
      const line = stdout.split('\n').find((text) => text.startsWith(String(id)));
      expect(line).to.include('…');
      for (const text of stdout.split('\n')) expect([...text].length).to.be.at.most(90);
    });
  });
}
