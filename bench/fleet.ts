import { join } from 'node:path';
import { systemClock } from '../tenant-schema/clock.ts';
import { format, formatSpread, quantile, spreadOf, verdictOf } from './lib/figures.ts';
import { type FleetRequest, STEPS, type Step, type StepRun } from './lib/fleet-steps.ts';
import { residentBytesOf } from './lib/process-figures.ts';
import { runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';

// Ten thousand tenants are created, migrated and backed up: by the server's own operations, and by a loop of bare
// SQLite calls that leaves the same on the disk. The two take turns, block by block.

const TENANTS = 10_000;
const BLOCKS = 20;
const RATIO_MAX = 1.5;
const MEMORY_GROWTH_MAX = 1.1;
/** The bare loop has no state that grows with the fleet: a part of the tenants tells its time as well. */
const BARE_PART = 0.25;
/** On a slow disk a step ends after so long, with as many tenants as it has done. */
const STEP_MS_MAX = 300_000;

const { scale } = readSettings();
const perBlock = Math.max(Math.round((TENANTS * scale) / BLOCKS), 5);
const barePerBlock = Math.max(Math.round(perBlock * BARE_PART), 5);

const ask = <T>(side: Worker, request: FleetRequest): Promise<T> => side.ask<T>(request);

interface Block {
  step: Step;
  productMs: number;
  bareMs: number;
  residentBytes: number;
}

await runBench(async (bench) => {
  const product = bench.worker('fleet-product.ts', { cpus: null });
  const bare = bench.worker('fleet-bare.ts', { cpus: null });
  const blocks: Block[] = [];
  // A step takes no more tenants than the one before has done.
  let blockCount = BLOCKS;

  for (const step of STEPS) {
    await ask(product, { kind: 'open', folder: join(bench.folder, 'product'), step });
    await ask(bare, { kind: 'open', folder: join(bench.folder, 'bare'), step });
    const startedAt = systemClock.monotonic();
    for (let block = 0; block < blockCount; block += 1) {
      if (block >= BLOCKS / 2 && systemClock.monotonic() - startedAt > STEP_MS_MAX) {
        blockCount = block;
        break;
      }
      progress(`${step}: ${block * perBlock} of ${blockCount * perBlock} tenants`);
      const runOn = (side: Worker, size: number): Promise<StepRun> =>
        ask(side, { kind: 'run', step, from: block * size, to: (block + 1) * size });
      // Each of the two goes first every other time, so that neither always inherits a busy disk.
      const bareFirst = block % 2 === 1 ? await runOn(bare, barePerBlock) : null;
      const productRun = await runOn(product, perBlock);
      const residentBytes = residentBytesOf(product.pid);
      const bareRun = bareFirst ?? (await runOn(bare, barePerBlock));
      blocks.push({
        step,
        productMs: productRun.ms / perBlock,
        bareMs: bareRun.ms / barePerBlock,
        residentBytes,
      });
    }
  }
  await ask(product, { kind: 'close' });
  await ask(bare, { kind: 'close' });

  const of = (step: Step): Block[] => blocks.filter((block) => block.step === step).slice(0, blockCount);
  const total = blockCount * perBlock;
  const rows = STEPS.map((step) => [
    step,
    formatSpread(spreadOf(of(step).map(({ productMs }) => productMs))),
    formatSpread(spreadOf(of(step).map(({ bareMs }) => bareMs))),
    formatSpread(spreadOf(of(step).map(({ productMs, bareMs }) => productMs / bareMs))),
  ]);
  // The nth block of each step makes the nth part of the fleet from the beginning to the end.
  const parts = Array.from({ length: blockCount }, (_, part) => {
    const its = STEPS.map((step) => of(step)[part]);
    const productMs = its.reduce((sum, block) => sum + (block?.productMs ?? 0), 0);
    const bareMs = its.reduce((sum, block) => sum + (block?.bareMs ?? 0), 0);
    return { productMs, bareMs, ratio: productMs / bareMs };
  });
  const ratios = parts.map((part) => part.ratio);
  const ratio = spreadOf(ratios);
  rows.push([
    'all three',
    formatSpread(spreadOf(parts.map(({ productMs }) => productMs))),
    formatSpread(spreadOf(parts.map(({ bareMs }) => bareMs))),
    formatSpread(ratio),
  ]);

  // Within a step, what is loaded and compiled once is there after the first quarter.
  const memory = STEPS.map((step) => {
    const sizes = of(step).map(({ residentBytes }) => residentBytes);
    const early = quantile(sizes.slice(blockCount / 4, blockCount / 2), 0.5);
    const late = quantile(sizes.slice(-blockCount / 4), 0.5);
    return { step, early, late, growth: late / early };
  });
  const growth = Math.max(...memory.map((step) => step.growth));

  publish({
    name: 'fleet',
    title: `${total} tenants created, migrated and backed up`,
    about:
      'Milliseconds per tenant, one after the other: the operations of the server against a loop of bare SQLite calls that ' +
      `leaves the same on the disk. Median and, in brackets, the range over ${blockCount} alternated blocks of ${perBlock} tenants, ${barePerBlock} of the bare loop.`,
    head: ['', 'server, ms', 'bare, ms', 'ratio'],
    rows,
    goals: [
      {
        goal: 'at most 1.5× the bare loop',
        found: `${format(ratio.median)}×`,
        verdict: verdictOf(ratios, RATIO_MAX),
      },
      {
        goal: 'memory stays flat while the fleet grows (server and its helpers, last quarter against the second)',
        found: memory
          .map(({ step, early, late }) => `${step} ${format(early / 1e6, 0)} → ${format(late / 1e6, 0)} MB`)
          .join(', '),
        verdict: growth <= MEMORY_GROWTH_MAX ? 'met' : 'missed',
      },
    ],
    data: { tenants: total, ratio, memory, blocks },
  });
});
