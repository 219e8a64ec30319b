import { once } from 'node:events';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { cli } from '../../support/cli.ts';
import { type Json, startTestServer } from '../../support/http.ts';
import { startProcess } from '../../support/process.ts';
import { temporaryFolder } from '../../support/tenants.ts';

describe('a lost control.db', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let env: Record<string, string>;
  let dataDir: string;
  beforeEach(() => {
    folder = temporaryFolder();
    dataDir = join(folder.path, 'data');
    env = { DATA_DIR: dataDir };
  });
  afterEach(() => folder.remove());

  const run = (...argv: string[]) => cli(argv, { env });
  const lose = () => {
    for (const suffix of ['', '-wal', '-shm']) rmSync(join(dataDir, `control.db${suffix}`), { force: true });
  };

  it("comes back with every tenant's name and with new keys, and the trash stays the trash", async () => {
    const made: Json[] = [];
    for (const name of ['Acme', 'Globex']) made.push((await run('tenant', 'create', name, '--json')).json);
    const [acme, globex] = made;
    await run('tenant', 'rename', 'Acme', 'Acme Ltd');
    await run('tenant', 'delete', 'Globex');
    lose();

    const { code, json, stderr } = await run('doctor', '--rebuild-control', '--json');
    expect(code, stderr).to.equal(0);
    const tenants = json.tenants as Json[];
    expect(tenants.map(({ id, name, status }) => [id, name, status])).to.deep.equal([
      [acme?.id, 'Acme Ltd', 'active'],
      [globex?.id, 'Globex', 'deleted'],
    ]);
    expect(tenants[1]?.api_key).to.equal(null);

    const server = await startTestServer({ dataDir });
    try {
      const me = await server.tenant(String(tenants[0]?.api_key)).get('/api/v1/me');
      expect(me.body.tenant).to.include({ id: acme?.id, name: 'Acme Ltd' });
      expect((await server.tenant(String(acme?.api_key)).get('/api/v1/me')).status).to.equal(401);
    } finally {
      await server.close();
    }
    expect((await run('tenant', 'undelete', 'Globex')).code).to.equal(0);
    expect((await run('doctor')).stdout).to.include('0 findings');
  });

  it('is known to be lost also when a command and a start of the server have made an empty one', async () => {
    await run('tenant', 'create', 'Acme');
    lose();
    for (let count = 0; count < 2; count += 1) {
      const { json, stderr } = await run('tenant', 'list', '--json');
      expect(json.data).to.deep.equal([]);
      expect(stderr).to.include('control.db is missing or empty');
    }
    const server = await startTestServer({ dataDir });
    try {
      expect((await server.admin.get('/api/v1/admin/tenants')).body.data, 'no demo').to.deep.equal([]);
      await server.logged(({ msg }) => String(msg).startsWith('control.db is missing or empty'));
    } finally {
      await server.close();
    }
    const { code, json } = await run('doctor', '--rebuild-control', '--json');
    expect([code, (json.tenants as Json[]).map(({ name }) => name)]).to.deep.equal([0, ['Acme']]);
    expect((await run('tenant', 'list')).stderr).to.equal('');
  });

  it('is not rebuilt where it is there, or where a server runs', async () => {
    await run('tenant', 'create', 'Acme');
    const there = await run('doctor', '--rebuild-control');
    expect(there.code).to.equal(4);
    expect(there.stderr).to.include('nothing was changed');
    const server = await startTestServer({ dataDir });
    try {
      env.ADMIN_TOKEN = server.adminToken;
      const running = await run('doctor', '--rebuild-control');
      expect(running.code).to.equal(4);
      expect(running.stderr).to.include('stop it first');
    } finally {
      await server.close();
    }
  });

  it('is rebuilt without the files that cannot be read, which are listed and stay', async () => {
    const { json } = await run('tenant', 'create', 'Acme', '--json');
    await run('tenant', 'create', 'Globex');
    const path = join('tenants', `${String(json.id)}.db`);
    lose();
    renameSync(join(dataDir, path), join(folder.path, 'saved.db'));
    writeFileSync(join(dataDir, path), 'damaged');
    const rebuilt = await run('doctor', '--rebuild-control', '--json');
    expect(rebuilt.code).to.equal(5);
    expect((rebuilt.json.tenants as Json[]).map(({ name }) => name)).to.deep.equal(['Globex']);
    expect((rebuilt.json.failed as Json[]).map((failure) => failure.path)).to.deep.equal([path]);
    expect((await run('tenant', 'import', join(folder.path, 'saved.db'), '--name', 'Acme')).code).to.equal(0);
  });

  it('is empty or whole where the rebuilding is killed, and the next run or new keys finish the work', async () => {
    const names = ['Acme', 'Globex', 'Initech'];
    for (const name of names) await run('tenant', 'create', name);
    const killedWhile = async (moment: string): Promise<void> => {
      lose();
      const script = join(import.meta.dirname, 'killed-rebuild.ts');
      const { child, output } = startProcess({
        command: [process.execPath, '--import', 'tsx', script, dataDir, moment],
      });
      const [, signal] = await once(child, 'close');
      expect(signal, output()).to.equal('SIGKILL');
    };

    for (const moment of ['reading', 'adding']) {
      await killedWhile(moment);
      expect((await run('tenant', 'list', '--json')).json.data, moment).to.deep.equal([]);
      const again = await run('doctor', '--rebuild-control', '--json');
      expect(again.code, again.stderr).to.equal(0);
      expect((again.json.tenants as Json[]).map(({ name }) => name)).to.deep.equal(names);
    }

    await killedWhile('added');
    expect((await run('doctor', '--rebuild-control')).code).to.equal(4);
    const listed = (await run('tenant', 'list', '--json')).json.data as Json[];
    expect(listed.map(({ name }) => name)).to.have.members(names);
    const [key] = (await run('key', 'list', 'Acme', '--json')).json.data as Json[];
    const made = [
      await run('key', 'rotate', 'Acme', String(key?.id), '--json'),
      await run('key', 'create', 'Globex', '--json'),
    ];
    const server = await startTestServer({ dataDir });
    try {
      for (const { json } of made) {
        expect((await server.tenant(String(json.api_key)).get('/api/v1/me')).status).to.equal(200);
      }
    } finally {
      await server.close();
    }
  });

  it('says what to do where it is damaged and not lost', async () => {
    await run('tenant', 'create', 'Acme');
    lose();
    writeFileSync(join(dataDir, 'control.db'), 'damaged'.repeat(1000));
    const { code, stderr } = await run('tenant', 'list');
    expect(code).to.equal(1);
    expect(stderr).to.include('cannot be opened');
  });
});
