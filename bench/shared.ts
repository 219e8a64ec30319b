import { join } from 'node:path';
import { systemClock } from '../tenant-schema/clock.ts';
import { createIds } from '../tenant-schema/ids.ts';
import type { Layout } from './lib/bare-tables.ts';
import { format, formatSpread, quantile, spreadOf, verdictOf } from './lib/figures.ts';
import { type Deletion, deleteTenant, exportTenant, fill } from './lib/layout-file.ts';
import type { WriterRequest, WriterRun } from './lib/layout-writer.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';

// A file for each tenant against one database for all, by the same hand-written turn: only the layout differs.

const LAYOUTS = ['files', 'shared'] as const;
const TENANTS = 32;
const PER_SECOND = 150;
/** Callers of the noisy tenant, who do not pause. */
const NOISE = 16;
const PARALLEL = 2;
const PROCESSES = 4;
const ROUNDS = 3;
const PHASE_MS = 2_000;
const WARM_UP_MS = 500;
const ROWS = 1_000_000;
/** Others in the shared file, together half as much as the one that leaves. */
const OTHERS = 5;
const OTHERS_PART = 0.1;
const EXPORTS = 3;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);
const rows = Math.max(Math.round(ROWS * scale), 20_000);
const ids = createIds(systemClock);
const tenants = Array.from({ length: TENANTS }, ids);
const noisy = ids();

const MEASURES = [
  'turn p50 alone, ms',
  'turn p99 alone, ms',
  'turn p99 beside a noisy tenant of the same process, ms',
  'turn p99 beside a noisy tenant of another process, ms',
  `turns/s of ${TENANTS} tenants, one process`,
  `turns/s of ${TENANTS} tenants, ${PROCESSES} processes`,
  'export, ms',
] as const;
type Measure = (typeof MEASURES)[number];
/** What the rounds found, in their order. */
type Figures = Map<Measure, number[]>;

const note = (figures: Figures, measure: Measure, value: number): void => {
  figures.set(measure, [...(figures.get(measure) ?? []), value]);
};

const ask = (worker: Worker, request: WriterRequest): Promise<WriterRun> => worker.ask<WriterRun>(request);

interface Writers {
  /** Has all the tenants, and a noisy one. */
  quiet: Worker;
  /** Has only the noisy one. */
  noisy: Worker;
  /** Have all the tenants between them. */
  several: Worker[];
}

async function openWriters(bench: Bench, layout: Layout): Promise<Writers> {
  const open = async (part: string, on: string | null, its: string[], noisyOne: string | null) => {
    const worker = bench.worker('layout-writer.ts', { cpus: on });
    const folder = join(bench.folder, layout, part);
    await ask(worker, { kind: 'open', folder, layout, tenants: its, noisy: noisyOne });
    return worker;
  };
  // Two processes, each with a processor of its own where there are two: only the disk and the locks are shared.
  const quiet = await open('noise', cpus?.server ?? null, tenants, ids());
  const noisyWorker = await open('noise', cpus?.others ?? null, [noisy], null);
  const several: Worker[] = [];
  for (let index = 0; index < PROCESSES; index += 1) {
    const its = tenants.filter((_, at) => at % PROCESSES === index);
    several.push(await open('several', null, its, null));
  }
  for (const worker of [quiet, noisyWorker, ...several]) {
    await ask(worker, { kind: 'full', parallel: 1, ms: WARM_UP_MS });
  }
  return { quiet, noisy: noisyWorker, several };
}

async function round({ quiet, noisy: noise, several }: Writers, figures: Figures): Promise<void> {
  const ms = phaseMs;
  const paced = (noiseOf: number) => ask(quiet, { kind: 'paced', perSecond: PER_SECOND, ms, noise: noiseOf });
  const p99 = ({ latenciesMs }: WriterRun): number => quantile(latenciesMs, 0.99);
  const alone = await paced(0);
  note(figures, 'turn p50 alone, ms', quantile(alone.latenciesMs, 0.5));
  note(figures, 'turn p99 alone, ms', p99(alone));
  note(figures, 'turn p99 beside a noisy tenant of the same process, ms', p99(await paced(NOISE)));
  const [beside] = await Promise.all([paced(0), ask(noise, { kind: 'full', parallel: NOISE, ms })]);
  note(figures, 'turn p99 beside a noisy tenant of another process, ms', p99(beside));
  const perSecond = (runs: WriterRun[]): number =>
    (runs.reduce((sum, { done }) => sum + done, 0) * 1000) / ms;
  const full = { kind: 'full', parallel: PARALLEL, ms } as const;
  note(figures, `turns/s of ${TENANTS} tenants, one process`, perSecond([await ask(quiet, full)]));
  note(
    figures,
    `turns/s of ${TENANTS} tenants, ${PROCESSES} processes`,
    perSecond(await Promise.all(several.map((worker) => ask(worker, full)))),
  );
}

await runBench(async (bench) => {
  const figures: Record<Layout, Figures> = { files: new Map(), shared: new Map() };
  progress('starting');
  const writers = { files: await openWriters(bench, 'files'), shared: await openWriters(bench, 'shared') };
  for (let at = 1; at <= ROUNDS; at += 1) {
    for (const layout of at % 2 === 1 ? LAYOUTS : LAYOUTS.toReversed()) {
      progress(`round ${at} of ${ROUNDS}: ${layout}`);
      await round(writers[layout], figures[layout]);
    }
  }

  const leaving = ids();
  const others = Array.from({ length: OTHERS }, ids);
  for (const layout of LAYOUTS) {
    progress(`${rows} rows of one tenant among others: ${layout}`);
    const folder = join(bench.folder, layout);
    others.slice(0, 2).forEach((id) => void fill(folder, layout, id, rows * OTHERS_PART));
    fill(folder, layout, leaving, rows);
    others.slice(2).forEach((id) => void fill(folder, layout, id, rows * OTHERS_PART));
  }
  for (let at = 1; at <= EXPORTS; at += 1) {
    for (const layout of at % 2 === 1 ? LAYOUTS : LAYOUTS.toReversed()) {
      progress(`export ${at} of ${EXPORTS}: ${layout}`);
      note(figures[layout], 'export, ms', exportTenant(join(bench.folder, layout), layout, leaving));
    }
  }
  const deletion = (layout: Layout): Deletion => {
    progress(`deletion: ${layout}`);
    return deleteTenant(join(bench.folder, layout), layout, leaving);
  };
  const deletions = { files: deletion('files'), shared: deletion('shared') };

  const { files, shared } = figures;
  const isRate = (measure: Measure): boolean => measure.startsWith('turns/s');
  const of = (layout: Figures, measure: Measure): number[] => layout.get(measure) ?? [];
  const ratios = (measure: Measure): number[] =>
    of(files, measure).map((value, at) => (of(shared, measure)[at] ?? Number.NaN) / value);
  const { files: filesGone, shared: sharedGone } = deletions;
  const mb = (bytes: number): string => format(bytes / 1e6, 1);
  /** How many times as well the files do, told in the way of `verdictOf`: at most 1 is better. */
  const worse = (measure: Measure): number[] =>
    ratios(measure).map((ratio) => (isRate(measure) ? ratio : 1 / ratio));
  const goals = MEASURES.slice(2).map((measure) => ({
    goal: `files are not behind: ${measure.replace(/, ms$/, '')}`,
    found: `${format(1 / spreadOf(worse(measure)).median)}× as good`,
    verdict: verdictOf(worse(measure), 1),
  }));

  publish({
    name: 'shared',
    title: 'A file for each tenant against one database for all',
    about:
      `The same turn by hand on the same tables, durable before it counts; the shared database has each key and index ` +
      `begin with the tenant, and 32 times the page cache. ${PER_SECOND} turns/s of ${TENANTS} tenants, the noisy one with ` +
      `${NOISE} callers that do not pause; ${ROUNDS} alternated rounds of ${format(phaseMs / 1000, 1)} s, median and, in brackets, ` +
      `the range. One tenant of ${rows} rows, half messages and half log rows, among others of ` +
      `${format(rows * OTHERS * OTHERS_PART, 0)} together, is exported ${EXPORTS} times and deleted once, in the shared database in ` +
      'short transactions.',
    head: ['', 'files', 'shared', 'shared / files'],
    rows: [
      ...MEASURES.map((measure) => {
        const digits = isRate(measure) || measure.startsWith('export') ? 0 : 2;
        return [
          measure,
          formatSpread(spreadOf(of(files, measure)), digits),
          formatSpread(spreadOf(of(shared, measure)), digits),
          formatSpread(spreadOf(ratios(measure))),
        ];
      }),
      [
        'deletion, ms',
        format(filesGone.ms, 0),
        format(sharedGone.ms, 0),
        format(sharedGone.ms / filesGone.ms),
      ],
      ['of it, longest wait of others, ms', '0', format(sharedGone.longestMs, 0), ''],
      ['size before, MB', mb(filesGone.beforeBytes), mb(sharedGone.beforeBytes), ''],
      ['size after, MB', mb(filesGone.afterBytes), mb(sharedGone.afterBytes), ''],
      ['size after VACUUM, MB', '', mb(sharedGone.vacuumedBytes), ''],
      ['VACUUM, in which nobody writes, ms', '', format(sharedGone.vacuumMs, 0), ''],
    ],
    goals: [
      ...goals,
      {
        goal: 'a deleted tenant leaves nothing in its file',
        found: `${mb(filesGone.afterBytes)} MB`,
        verdict: filesGone.afterBytes === 0 ? 'met' : 'missed',
      },
    ],
    data: {
      rows,
      figures,
      deletions,
      ratios: Object.fromEntries(MEASURES.map((m) => [m, spreadOf(ratios(m))])),
    },
  });
});
