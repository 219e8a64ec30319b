import { join } from 'node:path';
import { systemClock } from '../tenant-schema/clock.ts';
import { createAdmin } from './lib/admin.ts';
import { format, formatSpread, quantile, spreadOf, verdictOf } from './lib/figures.ts';
import { makeLargeFile } from './lib/large-file.ts';
import type { FullLoad, LoadRequest, PacedLoad, Target } from './lib/load.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';

// Do the neighbours notice when a large tenant is backed up? Turns at 30 % of the full rate, with and without.

const NEIGHBOURS = 50;
const LARGE_BYTES = 200 * 1000 * 1000;
const PART_OF_FULL = 0.3;
const PARALLEL = 32;
const GROWTH_MAX = 1.2;
/** In a phase of fewer turns the 99th percentile is one or two of them. */
const TURNS_MIN = 500;
const PAIRS = 7;
const PHASE_MS = 6_000;
/** Between two phases, for what the one before left for the disk to do. */
const PAUSE_MS = 1_000;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 2_000);
const others = cpus?.others ?? null;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ask = <T>(load: Worker, request: LoadRequest): Promise<T> => load.ask<T>(request);

async function setUp(bench: Bench) {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  const adminToken = 'bench-admin-token-of-one-run';
  const { url } = await bench.server({
    cpus: cpus?.server ?? null,
    env: {
      PORT: '0',
      DATA_DIR: join(bench.folder, 'data'),
      ADMIN_TOKEN: adminToken,
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: upstreamUrl,
      LOG_LEVEL: 'error',
      BACKUP_KEEP: '1',
      BACKUP_KEEP_DAILY: '0',
      BACKUP_KEEP_WEEKLY: '0',
    },
  });
  const admin = createAdmin(url, adminToken);
  progress('making a tenant of 200 MB and its neighbours');
  const largeId = await admin.importTenant(await makeLargeFile(bench.folder, LARGE_BYTES));
  const targets: Target[] = [];
  for (let index = 0; index < NEIGHBOURS; index += 1) {
    targets.push(await admin.makeChatter(`Neighbour ${index}`));
  }
  const load = bench.worker('load.ts', { cpus: others });
  await ask(load, { kind: 'begin', url, targets, connections: PARALLEL * 4 });
  return { admin, largeId, load };
}

await runBench(async (bench) => {
  const { admin, largeId, load } = await setUp(bench);

  progress('warming up');
  await ask<FullLoad>(load, { kind: 'full', parallel: PARALLEL, ms: 2_000 });
  const full = await ask<FullLoad>(load, {
    kind: 'full',
    parallel: PARALLEL,
    ms: Math.max(4_000 * scale, 1_000),
  });
  const perSecond = full.perSecond * PART_OF_FULL;
  await admin.backUp(largeId);

  const pairs: { quiet: PacedLoad; during: PacedLoad }[] = [];
  const backupsMs: number[] = [];
  let backupBytes = 0;
  for (let pair = 1; pair <= PAIRS; pair += 1) {
    progress(`${pair} of ${PAIRS}: ${format(perSecond, 0)} turns/s, quiet, then during backups`);
    const quiet = await ask<PacedLoad>(load, { kind: 'paced', perSecond, ms: phaseMs });
    let isOver = false;
    const paced = ask<PacedLoad>(load, { kind: 'paced', perSecond, ms: phaseMs }).finally(() => {
      isOver = true;
    });
    const backUps = (async () => {
      while (!isOver) {
        const startedAt = systemClock.monotonic();
        backupBytes = await admin.backUp(largeId);
        backupsMs.push(systemClock.monotonic() - startedAt);
      }
    })();
    const [during] = await Promise.all([paced, backUps]);
    pairs.push({ quiet, during });
    await pause(PAUSE_MS);
  }

  const p99 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.99);
  const p50 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.5);
  const ratios = pairs.map(({ quiet, during }) => p99(during) / p99(quiet));
  // What the machine does to the figure by itself: two quiet phases, compared in the same way.
  const noise = pairs.slice(1).map(({ quiet }, index) => p99(quiet) / p99(pairs[index]?.quiet ?? quiet));
  const all = (side: 'quiet' | 'during'): number[] => pairs.flatMap((pair) => pair[side].latenciesMs);
  const errors = pairs.reduce((sum, { quiet, during }) => sum + quiet.errors + during.errors, full.errors);
  const enough = perSecond * (phaseMs / 1000) >= TURNS_MIN;
  const ratio = spreadOf(ratios);
  const pooled = quantile(all('during'), 0.99) / quantile(all('quiet'), 0.99);
  const line = (name: string, side: 'quiet' | 'during'): string[] => [
    name,
    formatSpread(spreadOf(pairs.map((pair) => p50(pair[side])))),
    formatSpread(spreadOf(pairs.map((pair) => p99(pair[side])))),
    format(quantile(all(side), 0.99)),
  ];

  publish({
    name: 'snapshot-neighbours',
    title: 'A backup of 200 MB beside 50 chatting tenants',
    about:
      `Turns at a fixed ${format(perSecond, 0)}/s, 30 % of the full ${format(full.perSecond, 0)}/s, in ${PAIRS} pairs of ` +
      `${format(phaseMs / 1000, 0)} s without and with backups one after the other ` +
      `(${backupsMs.length} of ${format(backupBytes / 1e6, 0)} MB, ${format(quantile(backupsMs, 0.5) / 1000, 1)} s each). ` +
      'Median and, in brackets, the range over the pairs.',
    head: ['', 'p50, ms', 'p99, ms', 'p99 of all, ms'],
    rows: [
      line('without', 'quiet'),
      line('during backups', 'during'),
      ['ratio', '', formatSpread(ratio), format(pooled)],
      ['ratio of two quiet phases', '', formatSpread(spreadOf(noise)), ''],
    ],
    goals: [
      {
        goal: 'p99 grows by less than 20 %',
        found: `${format(ratio.median)}×`,
        verdict: enough ? verdictOf(ratios, GROWTH_MAX) : 'unclear',
      },
      {
        goal: 'no turn fails',
        found: `${errors} of ${all('quiet').length + all('during').length}`,
        verdict: errors === 0 ? 'met' : 'missed',
      },
    ],
    data: {
      fullPerSecond: full.perSecond,
      perSecond,
      ratio,
      pooled,
      noise: spreadOf(noise),
      backupsMs: spreadOf(backupsMs),
      pairs: pairs.map(({ quiet, during }) => ({
        quietP50Ms: p50(quiet),
        quietP99Ms: p99(quiet),
        duringP50Ms: p50(during),
        duringP99Ms: p99(during),
      })),
    },
  });
});
