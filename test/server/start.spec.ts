import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { request } from '../support/http.ts';

const MAIN = resolve(import.meta.dirname, '../../server/main.ts');

/** The real server as a process of its own. */
class Process {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  out = '';
  err = '';

  constructor(env: Record<string, string>) {
    const { PATH = '' } = process.env;
    this.child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
      env: { PATH, PORT: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (chunk) => {
      this.out += chunk;
    });
    this.child.stderr?.on('data', (chunk) => {
      this.err += chunk;
    });
    // `close` comes after the last byte of its output.
    this.exited = once(this.child, 'close').then(([code]) => code);
  }

  /** The address it listens on. @throws when it ends instead. */
  async url(): Promise<string> {
    for (;;) {
      const url = /^listening on (http:\/\/\S+)$/m.exec(this.out)?.[1];
      if (url) return url;
      const ended = this.exited.then(() => true);
      const said = once(this.child.stdout ?? this.child, 'data').then(() => false);
      if (await Promise.race([ended, said])) throw new Error(`the server ended: ${this.err}`);
    }
  }
}

describe('the server process', () => {
  let dataDir: string;
  let started: Process[];

  beforeEach(() => {
    dataDir = join(mkdtempSync(join(tmpdir(), 'nimblesite-')), 'data');
    started = [];
  });
  afterEach(async () => {
    for (const { child, exited } of started) {
      child.kill('SIGKILL');
      await exited;
    }
    rmSync(resolve(dataDir, '..'), { recursive: true, force: true });
  });

  const start = (env: Record<string, string> = {}): Process => {
    const server = new Process({ DATA_DIR: dataDir, ...env });
    started.push(server);
    return server;
  };

  it('shows once a curl line that gets a first reply, and an admin token, and ends cleanly', async () => {
    const first = start();
    const url = await first.url();
    const [, address = '', key = '', body = ''] =
      /^curl -sS (\S+) -H 'X-API-Key: (\S+)' -d '(.*)'$/m.exec(first.out) ?? [];
    expect(address.startsWith(`${url}/api/v1/chat/`)).to.equal(true);
    const headers = { 'X-API-Key': key, 'Content-Type': 'application/x-www-form-urlencoded' };
    const reply = await request(address, { method: 'POST', headers, body });
    expect(reply.status).to.equal(200);
    expect(reply.body.response).to.be.a('string').and.not.to.equal('');
    const token = /^Admin token .*: (\S+)$/m.exec(first.out)?.[1] ?? '';
    const asAdmin = { headers: { Authorization: `Bearer ${token}` } };
    const tenants = (await request(`${url}/api/v1/admin/tenants`, asAdmin)).body.data as Record<
      string,
      object
    >[];
    expect(tenants[0]).to.include({ name: 'Demo' });
    expect(tenants[0]?.limits)
      .to.include({ monthly_spend_usd: null })
      .and.to.deep.include({ providers: ['demo'] });

    // Twice within two seconds, as a Ctrl-C under make arrives.
    first.child.kill('SIGINT');
    first.child.kill('SIGTERM');
    expect(await first.exited).to.equal(0);
    const files = readdirSync(dataDir, { recursive: true, encoding: 'utf8' });
    expect(files.filter((name) => /-(wal|shm|journal)$/.test(name))).to.deep.equal([]);
    for (const name of files) {
      const { mode } = statSync(join(dataDir, name));
      expect((mode & 0o777).toString(8), name).to.match(/^[67]00$/);
    }
    expect(first.err).not.to.include(token).and.not.to.include(key);

    const second = start();
    const again = await second.url();
    expect(second.out).to.equal(`The console: ${again}/console\nlistening on ${again}\n`);
    expect((await request(`${again}/api/v1/admin/tenants`, asAdmin)).status).to.equal(200);
  });

  it('takes ADMIN_TOKEN in the place of the stored token and does not print it', async () => {
    const ADMIN_TOKEN = 'a token of my own choice';
    const server = start({ ADMIN_TOKEN });
    const url = await server.url();
    expect(server.out)
      .not.to.include(ADMIN_TOKEN)
      .and.not.to.match(/Admin token/);
    const headers = { Authorization: `Bearer ${ADMIN_TOKEN}` };
    expect((await request(`${url}/api/v1/admin/tenants`, { headers })).status).to.equal(200);
  });

  it('ends with code 2 and one line for a wrong setting, before it touches the folder', async () => {
    const server = start({ PORT: 'http' });
    expect(await server.exited).to.equal(2);
    expect(server.err).to.match(/^PORT must be .*\n$/);
    expect(existsSync(dataDir)).to.equal(false);
  });

  it('leaves a folder alone that another server owns', async () => {
    await start().url();
    const second = start();
    expect(await second.exited).to.equal(1);
    expect(second.err).to.match(/^another server owns .*\n$/);
  });

  it('takes over the folder of a server that was killed', async () => {
    const first = start();
    await first.url();
    first.child.kill('SIGKILL');
    await first.exited;
    await start().url();
  });

  it('says in one line that the port is taken, and leaves the first run for a start that can show it', async () => {
    const { port } = new URL(await start().url());
    const other = join(dataDir, '..', 'other');
    const second = start({ PORT: port, DATA_DIR: other });
    expect(await second.exited).to.equal(1);
    expect(second.err).to.match(/^cannot listen on .*: the port is in use; .*\n$/);
    expect(existsSync(join(other, 'control.db'))).to.equal(false);
    const third = start({ DATA_DIR: other });
    await third.url();
    expect(third.out)
      .to.match(/^curl /m)
      .and.to.match(/^Admin token/m);
  });

  for (const [name, value] of [
    ['HOST', '203.0.113.7'],
    ['HOST', '999.1.1.1.1'],
    ['DATA_DIR', '/dev/null/x'],
  ] as const) {
    it(`ends with code 2 and one line that names ${name} where it cannot be used: ${value}`, async () => {
      const server = start({ [name]: value });
      expect(await server.exited).to.equal(2);
      expect(server.err).to.match(new RegExp(`^${name} must be .*\\n$`));
      expect(server.out).to.equal('');
      expect(existsSync(join(dataDir, 'control.db'))).to.equal(false);
    });
  }
});
