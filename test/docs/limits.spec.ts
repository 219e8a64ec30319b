import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { temporaryFolder } from '../support/tenants.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'docs/limits.md'), 'utf8');

interface Step {
  commands: string;
  /** Lines that the answers have; `…` stands for anything. */
  answers: string[];
}

/** The page's shell commands, in order, each with what it says they answer. */
const STEPS: Step[] = [...PAGE.matchAll(/^```sh\n(.*?)^```\n(?:```http\n(.*?)^```\n)?/gms)].map(
  ([, commands = '', answers = '']) => ({ commands, answers: answers.split('\n').filter(Boolean) }),
);

const patternOf = (line: string): RegExp => new RegExp(`^${line.split('…').map(escaped).join('.*')}$`, 'm');
const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

describe('the page "Limits"', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let upstream: Upstream;
  let shell: ChildProcess | null;
  beforeEach(async () => {
    folder = temporaryFolder();
    upstream = await startUpstream();
    // Stands for a model that takes its time.
    upstream.respond(() => ({ hangAfter: 'request' }));
    shell = null;
  });
  afterEach(async () => {
    // With the server in it, should the test have ended too early.
    if (shell?.pid !== undefined && shell.exitCode === null) process.kill(-shell.pid, 'SIGKILL');
    await upstream.close();
    folder.remove();
  });

  it('has commands that all work, and that answer what it says', async function () {
    this.timeout(120_000);
    const bin = join(folder.path, 'bin');
    const work = join(folder.path, 'work');
    for (const path of [bin, work]) mkdirSync(path);
    const shim = join(bin, 'nimblesite');
    const main = join(ROOT, 'server/cli/main.ts');
    writeFileSync(
      shim,
      `#!/bin/sh\nexec '${process.execPath}' --import '${pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href}' '${main}' "$@"\n`,
    );
    chmodSync(shim, 0o755);

    // In one shell, which ends at the first command that fails, and ends the server with it.
    const script = [
      'set -euo pipefail',
      `trap 'kill $(jobs -p) 2>/dev/null || true' EXIT`,
      ...STEPS.map(({ commands }, index) => `exec > step-${index}.log\n${commands}`),
    ].join('\n');
    const { PATH = '' } = process.env;
    shell = spawn('bash', ['-c', script], {
      detached: true,
      cwd: work,
      env: {
        PATH: `${bin}${delimiter}${PATH}`,
        HOME: folder.path,
        PORT: '0',
        OLLAMA_BASE_URL: upstream.openaiUrl,
        // The keyed turn that never ends is not waited for.
        DRAIN_SECONDS: '0',
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let complaints = '';
    shell.stderr?.on('data', (chunk: Buffer) => {
      complaints += chunk.toString();
    });
    const [code] = await once(shell, 'close');
    expect(code, complaints).to.equal(0);

    for (const [index, { answers }] of STEPS.entries()) {
      const output = readFileSync(join(work, `step-${index}.log`), 'utf8').replaceAll('\r', '');
      // An answer's body ends without a new line; the next answer begins in its last one.
      const lines = output.replaceAll('}HTTP/1.1', '}\nHTTP/1.1').replaceAll('}{', '}\n{');
      for (const answer of answers) expect(lines).to.match(patternOf(answer));
    }
    expect(STEPS.filter(({ answers }) => answers.length > 0)).to.have.length.greaterThan(8);
  });

  it('shows every refusal there is for a limit', () => {
    for (const code of [
      'rate_limited',
      'concurrency_limited',
      'budget_exceeded',
      'pricing_unavailable',
      'storage_quota_exceeded',
      'provider_not_allowed',
      'idempotency_conflict',
      'idempotency_in_progress',
    ]) {
      const shown = STEPS.some(({ answers }) => answers.some((line) => line.includes(`"code":"${code}"`)));
      expect(shown, code).to.equal(true);
    }
  });
});
