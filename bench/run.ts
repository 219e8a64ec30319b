import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { systemClock, toTimestamp } from '../tenant-schema/clock.ts';
import { format } from './lib/figures.ts';
import { NOT_APPLICABLE } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';

// Runs one scenario after the other and puts their tables into bench/results/all.md.

/** In the order in which they run; `part` of its full size is what one takes part with. */
const SCENARIOS: Readonly<Record<string, { part: number }>> = {
  turn: { part: 1 },
  stream: { part: 1 },
  tenants: { part: 1 },
  shared: { part: 1 },
  long: { part: 1 },
  neighbours: { part: 0.25 },
  logs: { part: 1 },
  fleet: { part: 0.06 },
  'turn-cpu': { part: 1 },
  workers: { part: 1 },
};

const { scale } = readSettings();
const results = fileURLToPath(new URL('./results/', import.meta.url));
const say = (text: string): void => {
  process.stderr.write(text);
};

/** How it ended; 0 is well. */
async function run(name: string, part: number): Promise<unknown> {
  const file = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', file], {
    env: { ...process.env, BENCH_SCALE: String(Math.max(scale * part, 0.01)) },
    stdio: 'inherit',
  });
  const [code] = await once(child, 'exit');
  return code;
}

function commit(): string {
  const git = (...args: string[]): string =>
    spawnSync('git', args, { encoding: 'utf8' }).stdout?.trim() ?? '';
  const hash = git('rev-parse', '--short', 'HEAD');
  return hash && git('status', '--porcelain') ? `${hash}, changed` : hash || 'unknown';
}

const names = Object.keys(SCENARIOS);
// A Ctrl-C reaches the scenario too, which ends what it has started; no other begins then.
let isInterrupted = false;
process.on('SIGINT', () => {
  isInterrupted = true;
});

const startedAt = systemClock.monotonic();
const failed: string[] = [];
const tables: string[] = [];
const found: Record<string, unknown> = {};
for (const [index, name] of names.entries()) {
  if (isInterrupted) break;
  const minutes = (systemClock.monotonic() - startedAt) / 60_000;
  say(`\n── ${index + 1} of ${names.length}: ${name}, after ${format(minutes, 1)} min\n`);
  const code = await run(name, SCENARIOS[name]?.part ?? 1);
  if (code !== 0) {
    if (code !== NOT_APPLICABLE) failed.push(name);
    continue;
  }
  tables.push(readFileSync(`${results}${name}.md`, 'utf8'));
  found[name] = JSON.parse(readFileSync(`${results}${name}.json`, 'utf8'));
}

const processors = cpus();
const machine = {
  processor: processors[0]?.model ?? 'unknown',
  processors: processors.length,
  memoryGb: Math.round(totalmem() / 1e9),
  node: process.version,
};
const about = {
  at: toTimestamp(systemClock.now()),
  commit: commit(),
  machine,
  scale,
  minutes: Number(format((systemClock.monotonic() - startedAt) / 60_000, 1)),
  failed,
};
const head =
  `${machine.processors} × ${machine.processor}, ${machine.memoryGb} GB, Node.js ${machine.node}; commit ${about.commit}; ` +
  `${about.at.slice(0, 10)}; ${about.minutes} minutes${scale === 1 ? '' : `, at ${scale} of the size`}.` +
  `${failed.length > 0 ? ` Failed: ${failed.join(', ')}.` : ''}\n`;
if (tables.length > 0) {
  writeFileSync(`${results}all.md`, [head, ...tables].join('\n'));
  writeFileSync(`${results}all.json`, `${JSON.stringify({ ...about, scenarios: found }, null, 2)}\n`);
}
say(`\n${head}All tables are in bench/results/all.md, all figures in all.json.\n`);
process.exitCode = failed.length > 0 || isInterrupted ? 1 : 0;
