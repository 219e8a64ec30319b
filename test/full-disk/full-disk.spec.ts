import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DISK_MIB = 32;

/** Runs mocha in a mount namespace of its own, in which `folder` is a small disk; it is gone with the process. */
const onSmallDisk = (namespace: string, folder: string): [string, string[]] => [
  'unshare',
  [
    namespace,
    'sh',
    '-c',
    'mount -t tmpfs -o size="$1"m tmpfs "$2" && shift 2 && exec "$@"',
    'sh',
    String(DISK_MIB),
    folder,
  ],
];

async function run(
  [command, args]: [string, string[]],
  more: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string }> {
  const child = spawn(command, [...args, ...more], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      output += piece.toString();
    });
  }
  child.on('error', (error) => {
    output += String(error);
  });
  const [code] = await once(child, 'close');
  return { code: code as number | null, output };
}

describe('a full disk', () => {
  it('loses nothing, leaves nothing behind and is told clearly (scenarios.ts)', async function () {
    this.timeout(120_000);
    const folder = mkdtempSync(join(tmpdir(), 'nimblesite-disk-'));
    try {
      // Root without leave to make users of its own may still mount; anybody else is root in a namespace of users.
      const tries = await Promise.all(
        ['--mount', '-rm'].map(async (namespace) => ({
          namespace,
          result: await run(onSmallDisk(namespace, folder), ['true'], process.env),
        })),
      );
      const possible = tries.find(({ result }) => result.code === 0);
      expect(
        possible,
        'this test mounts a small tmpfs in a mount namespace: it needs unshare (util-linux), and root with ' +
          `CAP_SYS_ADMIN or unprivileged user namespaces (${tries.map(({ result }) => result.output.trim()).join('; ')})`,
      ).to.not.equal(undefined);
      const mocha = join(ROOT, 'node_modules/mocha/bin/mocha.js');
      const { code, output } = await run(
        onSmallDisk(possible?.namespace ?? '', folder),
        [process.execPath, mocha, '--exit', 'test/full-disk/scenarios.ts'],
        { ...process.env, SMALL_DISK: folder },
      );
      expect(code, output).to.equal(0);
      expect(output).to.match(/\d+ passing/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
