import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { announce, announced, newRunSecret, openDataFolder, proofOf } from '../../../server/data-folder.ts';
import { cli } from '../../support/cli.ts';
import { type Json, startTestServer } from '../../support/http.ts';
import { startProcess, startServerProcess } from '../../support/process.ts';
import { ManualClock, temporaryFolder } from '../../support/tenants.ts';

const MAIN = 'server/cli/main.ts';

describe('a command', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let dataDir: string;
  beforeEach(() => {
    folder = temporaryFolder();
    dataDir = join(folder.path, 'data');
  });
  afterEach(() => folder.remove());

  it('asks for the admin token where a server runs, and says how to give it', async () => {
    const server = await startTestServer({ dataDir });
    try {
      const none = await cli(['status'], { env: { DATA_DIR: dataDir } });
      expect(none.code).to.equal(6);
      expect(none.stderr).to.include('ADMIN_TOKEN').and.to.include('--admin-token-file');
      const wrong = await cli(['status'], {
        env: { DATA_DIR: dataDir, ADMIN_TOKEN: 'wrong-wrong-wrong-wrong' },
      });
      expect(wrong.code).to.equal(6);
      expect(wrong.stderr).not.to.include('wrong-wrong');

      const tokenFile = join(folder.path, 'token');
      writeFileSync(tokenFile, `${server.adminToken}\n`);
      const right = await cli(['status', '--url', server.url, '--admin-token-file', tokenFile]);
      expect(right.code, right.stderr).to.equal(0);
      expect((await cli(['status', '--url', server.url, '--admin-token-file', '/nowhere'])).code).to.equal(2);
    } finally {
      await server.close();
    }
  });

  it('ends with 6 where the server cannot be reached, and with 2 for a wrong setting', async () => {
    const env = { ADMIN_TOKEN: 'test-admin-token-0123456789' };
    const server = await startTestServer({ dataDir });
    await server.close();
    expect((await cli(['status', '--url', server.url], { env })).code).to.equal(6);
    const wrong = await cli(['status'], { env: { ...env, NIMBLESITE_URL: 'nonsense' } });
    expect([wrong.code, wrong.stderr]).to.deep.equal([
      2,
      'NIMBLESITE_URL must be a URL that begins with http:// or https://\n',
    ]);
  });

  it('shows on a terminal that it waits, where an answer takes longer than a second', async () => {
    let answer = (): void => {};
    const slow = createHttpServer((_, response) => {
      const status = { latest_version: 1, files: 0, versions: [], quarantined: [] };
      answer = () => response.end(JSON.stringify(status));
    });
    slow.listen(0, '127.0.0.1');
    await once(slow, 'listening');
    try {
      const { port } = slow.address() as AddressInfo;
      const shown: string[] = [];
      const { code, stderr } = await cli(['status', '--url', `http://127.0.0.1:${port}`], {
        env: { ADMIN_TOKEN: 'test-admin-token-0123456789' },
        onScreen(text) {
          shown.push(text);
          answer();
        },
      });
      expect(code, stderr).to.equal(0);
      expect(shown).to.deep.equal(['\r\u001b[KWorking 1 s', '\r\u001b[K']);
    } finally {
      slow.close();
    }
  });

  it('makes no folder but for a first tenant', async () => {
    const env = { DATA_DIR: dataDir };
    expect((await cli(['status'], { env })).code).to.equal(3);
    expect(existsSync(dataDir)).to.equal(false);
    expect((await cli(['tenant', 'create', 'Acme'], { env })).code).to.equal(0);
  });

  it('leaves the admin token and the demo to the first start of the server', async () => {
    const env = { DATA_DIR: dataDir, ADMIN_TOKEN: 'test-admin-token-of-the-shell' };
    const made = await cli(['tenant', 'list', '--json'], { env: { DATA_DIR: dataDir } });
    expect(made.code).to.equal(3);
    expect((await cli(['tenant', 'create', 'Acme'], { env })).code).to.equal(0);
    expect(existsSync(join(dataDir, 'server.json'))).to.equal(false);
    const server = await startServerProcess({ env: { DATA_DIR: dataDir, PORT: '0' } });
    expect(server.output()).to.match(/^Admin token .*: nba_/m);
    expect(await server.end('SIGTERM')).to.equal(0);
  });

  it('never works beside another process that owns the folder', async () => {
    const { release } = openDataFolder(dataDir);
    try {
      const { code, stderr } = await cli(['tenant', 'create', 'Acme'], { env: { DATA_DIR: dataDir } });
      expect(code).to.equal(4);
      expect(stderr).to.match(/^Another nimblesite command, or a server that is just starting, owns .*\n$/);
    } finally {
      release();
    }
    const both = await Promise.all(
      ['a', 'b'].map((name) => cli(['tenant', 'create', name], { env: { DATA_DIR: dataDir } })),
    );
    expect(both.map(({ code }) => code).sort()).to.deep.equal([0, 4]);
  });

  it('finds a server by what it has written down, which is gone when it has stopped', async () => {
    const server = await startServerProcess({
      env: { DATA_DIR: dataDir, PORT: '0', ADMIN_TOKEN: 'a token of mine 1' },
    });
    const path = join(dataDir, 'server.json');
    const written = JSON.parse(readFileSync(path, 'utf8'));
    expect(written).to.include({ url: server.url, pid: server.child.pid });
    expect(written.run_secret).to.match(/^[\w-]{43}$/);
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    const env = { DATA_DIR: dataDir, ADMIN_TOKEN: 'a token of mine 1' };
    expect((await cli(['status', '--json'], { env })).json.server).to.equal('running');
    await server.end('SIGKILL');
    // What a killed server has left is not believed.
    expect(announced(dataDir)?.url).to.equal(server.url);
    expect((await cli(['status', '--json'], { env })).json.server).to.equal('not running');
  });

  it('sends no token to whoever listens where a killed server did', async () => {
    const given: unknown[] = [];
    const stranger = createHttpServer((request, response) => {
      given.push(request.headers.authorization);
      // As if it were a server of ours, but of another run.
      response.setHeader('X-Nimblesite-Proof', proofOf('another-run', 'challenge'));
      response.end('{"status":"ok"}');
    });
    stranger.listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    const { release } = openDataFolder(dataDir);
    try {
      const { port } = stranger.address() as AddressInfo;
      announce(dataDir, { url: `http://127.0.0.1:${port}`, runSecret: newRunSecret() });
      const env = { DATA_DIR: dataDir, ADMIN_TOKEN: 'test-admin-token-0123456789' };
      const { code, stderr } = await cli(['status'], { env });
      expect(code, stderr).to.equal(4);
      expect(given, 'it was asked who it is, and was told nothing').to.deep.equal([undefined]);
    } finally {
      release();
      stranger.close();
    }
    // Whoever takes the folder next believes none of it.
    openDataFolder(dataDir).release();
    expect(existsSync(join(dataDir, 'server.json'))).to.equal(false);
  });

  it('lets nothing expire that the server would keep, and leaves what is unfinished', async () => {
    // Forty days ago, and more.
    const clock = new ManualClock();
    const server = await startTestServer({ dataDir, clock, env: { TRASH_DAYS: '365' } });
    const kept = await server.createTenant({ name: 'Kept' });
    for (let count = 0; count < 3; count += 1) {
      await server.admin.post(`/api/v1/admin/tenants/${kept.id}/backups`, {});
      clock.advance(1000);
    }
    const gone = await server.createTenant({ name: 'Gone' });
    await server.admin.delete(`/api/v1/admin/tenants/${gone.id}`);
    await server.close();
    const unfinished = join(dataDir, 'tmp', 'half.db');
    writeFileSync(unfinished, '', { mode: 0o600 });

    const env = { DATA_DIR: dataDir, BACKUP_KEEP: '1', BACKUP_KEEP_DAILY: '0', BACKUP_KEEP_WEEKLY: '0' };
    for (const argv of [['status'], ['doctor'], ['tenant', 'backup', 'Kept']]) {
      const { code, stderr } = await cli(argv, { env });
      expect([code, stderr], argv.join(' ')).to.deep.equal([0, '']);
    }
    expect((await cli(['tenant', 'backups', 'Kept', '--json'], { env })).json)
      .to.have.property('data')
      .with.length(4);
    expect((await cli(['tenant', 'undelete', 'Gone'], { env })).code).to.equal(0);
    expect(existsSync(unfinished)).to.equal(true);
  });

  it('tells an error as one JSON object with --json', async () => {
    const env = { DATA_DIR: dataDir };
    const failures: [string[], number, string][] = [
      [['status'], 3, 'not_found'],
      [['status', '--nonsense'], 2, 'usage'],
      [['tenant', 'nonsense'], 2, 'usage'],
    ];
    for (const [argv, code, errorCode] of failures) {
      const told = await cli([...argv, '--json'], { env });
      const { error } = JSON.parse(told.stderr) as { error: Json };
      expect([told.code, told.stdout, error.code], told.stderr).to.deep.equal([code, '', errorCode]);
      expect(error.message).to.be.a('string').and.not.equal('');
    }
    await cli(['tenant', 'create', 'Acme'], { env });
    const refused = await cli(['tenant', 'set', 'Acme', '--limit', 'storage_bytes_max=-1', '--json'], {
      env,
    });
    expect(refused.code).to.equal(2);
    expect((JSON.parse(refused.stderr) as { error: Json }).error.code).to.equal('validation_failed');
  });

  it('runs as a program, with its result on standard output and its exit code', async () => {
    const command: [string, ...string[]] = [
      process.execPath,
      '--import',
      'tsx',
      MAIN,
      'tenant',
      'create',
      'Acme',
      '--json',
    ];
    const { child, output } = startProcess({ command, env: { DATA_DIR: dataDir } });
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(code).to.equal(0);
    expect(JSON.parse(output())).to.include({ name: 'Acme' });

    const doctor: [string, ...string[]] = [process.execPath, '--import', 'tsx', MAIN, 'doctor'];
    const checked = startProcess({ command: doctor, env: { DATA_DIR: dataDir } });
    expect(await new Promise((resolve) => checked.child.once('close', resolve))).to.equal(0);
    expect(checked.output()).to.include('1 file checked').and.to.include('0 findings');
  });

  it('has help with examples, everywhere', async () => {
    const groups = { tenant: 20, key: 3 };
    const root = await cli(['--help']);
    expect(root.code).to.equal(0);
    expect(root.stdout).to.include('Examples:').and.to.include('Exit codes:');
    const commands = [
      ...['serve', 'migrate', 'status', 'backup-control', 'doctor', 'completion'].map((name) => [name]),
      ...(
        await Promise.all(
          Object.keys(groups).map(async (group) => {
            const { stdout } = await cli([group, '--help']);
            const listed = stdout.slice(stdout.indexOf('Commands:'), stdout.indexOf('Examples:'));
            return [...listed.matchAll(/^ {2}(\w+) /gm)].map(([, name = '']) => [group, name]);
          }),
        )
      ).flat(),
    ].filter((path) => path.at(-1) !== 'help');
    expect(commands.length).to.be.at.least(24);
    for (const path of commands) {
      const { code, stdout } = await cli([...path, '--help']);
      expect([path, code]).to.deep.equal([path, 0]);
      expect(stdout, path.join(' ')).to.include('Examples:');
      if (!['serve', 'completion'].includes(path[0] ?? '')) expect(stdout).to.include('--json');
    }
    for (const group of [
      'tenant',
      'key',
      'provider-key',
      'admin-token',
      'master-key',
      'logs',
      'usage',
      'audit',
    ]) {
      const { stdout } = await cli([group, '--help']);
      expect(stdout, group).to.match(new RegExp(`^Examples:\n {2}nimblesite ${group} `, 'm'));
    }
    // What a group does by itself is told where it is looked for.
    expect((await cli(['usage', '--help'])).stdout).to.include('nimblesite usage list --help');
  });

  it('takes the refusal of another program for no answer about a tenant', async () => {
    let status = 404;
    const other = createHttpServer((_, response) => response.writeHead(status).end('<h1>None</h1>'));
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    try {
      const { port } = other.address() as AddressInfo;
      const env = { ADMIN_TOKEN: 'test-admin-token-0123456789', NIMBLESITE_URL: `http://127.0.0.1:${port}` };
      const { code, stderr } = await cli(['tenant', 'show', 'Acme'], { env });
      expect([code, stderr]).to.deep.equal([
        1,
        'The server answered 404. Is this the address of a Nimblesite server?\n',
      ]);
      // A proxy says that where the address is right and no server answers.
      status = 502;
      expect((await cli(['tenant', 'show', 'Acme'], { env })).stderr).to.equal('The server answered 502.\n');
    } finally {
      other.close();
    }
  });

  it('completes itself in bash, and has scripts for zsh and fish', async () => {
    const { stdout: script } = await cli(['completion', 'bash']);
    const complete = (...words: string[]) => {
      const lines = `${script}
COMP_WORDS=(nimblesite ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
_nimblesite; echo "\${COMPREPLY[*]}"`;
      // Where its standard input is a socket, as here, it would read what the user's own shells begin with.
      const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', lines], { encoding: 'utf8' });
      expect(stderr).to.equal('');
      return stdout.trim();
    };
    expect(complete('st')).to.equal('status');
    expect(complete('tenant', 'un')).to.equal('undelete');
    expect(complete('tenant', 'export', 'Acme', '--fo')).to.equal('--force');
    expect(complete('tenant', 'list', '--status', 'su'), 'a value that is one of few').to.equal('suspended');
    expect(complete('completion', 'z'), 'an argument that is one of few').to.equal('zsh');
    expect(complete('usage', '--si'), 'what is meant without its name').to.equal('--since');
    expect(complete('usage', '--tenant', 'Acme', '--si'), 'after the value of an option').to.equal('--since');
    const { stdout: zshScript } = await cli(['completion', 'zsh']);
    expect(zshScript).to.match(/^#compdef nimblesite\n/);
    expect(zshScript, 'completion is turned on before it is used').to.match(
      / compinit -i.* bashcompinit\n.*\ncomplete -o default /s,
    );
    expect((await cli(['completion', 'fish'])).stdout).to.include('-a undelete');
    for (const shell of ['zsh', 'fish']) {
      const { stdout: text } = await cli(['completion', shell]);
      writeFileSync(join(folder.path, shell), text);
      const parsed = spawnSync(shell, ['-n', join(folder.path, shell)], { encoding: 'utf8' });
      // Where the shell is not installed, there is nobody to ask: what is said above of its script is all then.
      if (!parsed.error) expect([shell, parsed.status, parsed.stderr]).to.deep.equal([shell, 0, '']);
    }
    // Without the completions of all other programs, which take seconds to be found.
    const few = 'fpath=($^fpath/compinit(N:h))';
    const sourced = spawnSync('zsh', ['-fc', `${few}; source ./zsh; print -r -- $_comps[nimblesite]`], {
      encoding: 'utf8',
      cwd: folder.path,
      env: { ...process.env, HOME: folder.path, ZDOTDIR: folder.path },
    });
    // In a shell that has not turned completion on by itself either; not seen where there is no zsh.
    if (!sourced.error) {
      expect([sourced.stderr, sourced.stdout]).to.deep.equal([
        '',
        '_bash_complete -o default -F _nimblesite\n',
      ]);
    }
    expect((await cli(['completion', 'powershell'])).code).to.equal(2);
  });
});
