import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { temporaryFolder } from '../support/tenants.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** The page's shell commands, in order. */
const blocks = (): string[] =>
  [...readFileSync(join(ROOT, 'docs/operating.md'), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map(
    ([, text = '']) => text,
  );

describe('the page "Operating"', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let shell: ChildProcess | null;
  beforeEach(() => {
    folder = temporaryFolder();
    shell = null;
  });
  afterEach(() => {
    // With the server in it, should the test have ended too early.
    if (shell?.pid !== undefined && shell.exitCode === null) process.kill(-shell.pid, 'SIGKILL');
    folder.remove();
  });

  it('has shell commands that all work, in the order in which they stand there', async function () {
    this.timeout(300_000);
    const restic = spawnSync('restic', ['version'], { encoding: 'utf8' });
    expect(restic.error?.message, 'restic must be installed: make test does it').to.equal(undefined);

    const bin = join(folder.path, 'bin');
    const work = join(folder.path, 'work');
    for (const path of [bin, work]) mkdirSync(path);
    // As it is installed: what is compiled starts in a third of the time, and some fifty commands are run.
    const built = join(folder.path, 'built');
    mkdirSync(built);
    symlinkSync(join(ROOT, 'node_modules'), join(built, 'node_modules'));
    writeFileSync(join(built, 'package.json'), '{"type": "module"}');
    const tsc = [join(ROOT, 'node_modules/.bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json')] as const;
    const compiled = spawnSync(tsc[0], [...tsc.slice(1), '--noCheck', '--outDir', join(built, 'dist')], {
      encoding: 'utf8',
    });
    expect(compiled.status, compiled.stdout).to.equal(0);
    const shim = join(bin, 'nimblesite');
    const main = join(built, 'dist/server/cli/main.js');
    writeFileSync(shim, `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
    chmodSync(shim, 0o755);

    // In one shell, which ends at the first command that fails, and ends the server with it.
    const script = [
      'set -euo pipefail',
      `trap 'kill $(jobs -p) 2>/dev/null || true' EXIT`,
      ...blocks().map((text, index) => `echo "--- block ${index + 1}" >&2\n${text}`),
    ].join('\n');
    const { PATH = '' } = process.env;
    shell = spawn('bash', ['-c', script], {
      detached: true,
      cwd: work,
      env: { PATH: `${bin}${delimiter}${PATH}`, HOME: folder.path, PORT: '0' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [shell.stdout, shell.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    const [code] = await once(shell, 'close');
    expect(code, output).to.equal(0);
    expect(blocks().length).to.be.greaterThan(10);
  });

  it('has a way to put a copy in place that leaves nothing of what a crash left there', () => {
    const [place = ''] = /^place\(\) \{$.*?^\}$/ms.exec(blocks().join('\n')) ?? [];
    const path = join(folder.path, 'control.db');
    const copy = join(folder.path, 'copy.db');
    // In a process that is killed, so that SQLite gets to tidy nothing up.
    const crash = `
      const db = require('better-sqlite3')(process.argv[1]);
      db.pragma('journal_mode = WAL');
      db.exec("CREATE TABLE names (name TEXT); INSERT INTO names VALUES ('old')");
      db.prepare('VACUUM INTO ?').run(process.argv[2]);
      db.exec("INSERT INTO names VALUES ('new')");
      process.kill(process.pid, 'SIGKILL');`;
    const killed = spawnSync(process.execPath, ['-e', crash, path, copy], { cwd: ROOT });
    expect(killed.signal).to.equal('SIGKILL');
    expect(readdirSync(folder.path).sort()).to.deep.equal([
      'control.db',
      'control.db-shm',
      'control.db-wal',
      'copy.db',
    ]);
    const placed = spawnSync('bash', ['-ec', `${place}\nplace '${copy}' '${path}'`], { encoding: 'utf8' });
    expect([placed.status, placed.stderr]).to.deep.equal([0, '']);
    expect(readdirSync(folder.path).sort()).to.deep.equal(['control.db', 'copy.db']);
    const db = new Database(path);
    try {
      expect(db.prepare('SELECT name FROM names').pluck().all()).to.deep.equal(['old']);
    } finally {
      db.close();
    }
  });

  it('names every command and every exit code there is', () => {
    const page = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8');
    for (const name of [
      'restic',
      'rclone',
      'Litestream',
      'quiesce',
      '--rebuild-control',
      'backup-control',
      'BACKUP_EVERY',
      'TRASH_DAYS',
    ]) {
      expect(page).to.include(name);
    }
    for (const code of [0, 1, 2, 3, 4, 5, 6]) expect(page).to.match(new RegExp(`^\\| ${code} \\|`, 'm'));
  });
});
