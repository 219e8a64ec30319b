import { join } from 'node:path';
import { systemClock } from '../tenant-schema/clock.ts';
import { writeConversations } from './lib/conversation-rows.ts';
import type { Download } from './lib/download.ts';
import { format, formatSpread, quantile, spreadOf, verdictOf } from './lib/figures.ts';
import type { ChatTarget, FullLoad, LoadRequest, PacedLoad } from './lib/load.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// Do the neighbours notice when a large tenant is backed up, or takes its data away? Turns at 30 % of the full rate.

const NEIGHBOURS = 50;
const PART_OF_FULL = 0.3;
const PARALLEL = 32;
const GROWTH_MAX = 1.2;
/** Of fewer turns in all quiet phases the 99th percentile says nothing. */
const TURNS_MIN = 1000;
/** On a slow disk no round begins after so long, for each kind. */
const ROUNDS_MS_MAX = 90_000;
const PHASE_MS = 6_000;
/** While a copy is made, turns are sent in parts of so long, until it is done. */
const PART_MS = 2_000;
/** Between two phases, for what the one before left for the disk to do. */
const PAUSE_MS = 1_000;
/** Short enough to lie in a page of the table: a longer text takes a page of 4 KiB beside it. */
const TEXT_BYTES = 600;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 4_000);
const others = cpus?.others ?? null;

const KINDS = ['backup', 'export'] as const;
type Kind = (typeof KINDS)[number];
const COPIES: Record<Kind, { bytes: number; rounds: number }> = {
  backup: { bytes: 200e6, rounds: 4 },
  export: { bytes: 500e6, rounds: 3 },
};
/** Turns without a copy under way, and with it. */
interface Pair {
  quiet: PacedLoad;
  beside: PacedLoad;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ask = <T>(load: Worker, request: LoadRequest): Promise<T> => load.ask<T>(request);

async function setUp(bench: Bench) {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  const { url, admin, adminToken, dataDir } = await startProduct(bench, {
    cpus,
    upstreamUrl,
    folder: 'data',
    env: { BACKUP_KEEP: '1', BACKUP_KEEP_DAILY: '0', BACKUP_KEEP_WEEKLY: '0' },
  });
  const makeLarge = async (kind: Kind): Promise<string> => {
    const bytes = Math.max(COPIES[kind].bytes * scale, 10e6);
    progress(`making a tenant of ${format(bytes / 1e6, 0)} MB`);
    const { tenantId, configId } = await admin.makeChatter(`Large, for the ${kind}`);
    // Closed, so that its rows can be written by this process.
    await admin.quiesce(tenantId);
    writeConversations(join(dataDir, 'tenants', `${tenantId}.db`), {
      configId,
      messagesEach: 100,
      textBytes: TEXT_BYTES,
      isEnough: (_, fileBytes) => fileBytes >= bytes,
    });
    return tenantId;
  };
  const largeIds = { backup: await makeLarge('backup'), export: await makeLarge('export') };
  const targets: ChatTarget[] = [];
  for (let index = 0; index < NEIGHBOURS; index += 1) {
    targets.push(await admin.makeChatter(`Neighbour ${index}`));
  }
  const load = bench.worker('load.ts', { cpus: others });
  await ask(load, { kind: 'begin', url, targets, connections: PARALLEL * 4 });
  const reader = bench.worker('download.ts', { cpus: others });
  const exported: Download = {
    url: `${url}/api/v1/admin/tenants/${largeIds.export}/export`,
    headers: { authorization: `Bearer ${adminToken}` },
  };
  return {
    load,
    work: {
      backup: () => admin.backUp(largeIds.backup),
      export: () => reader.ask<number>(exported),
    } satisfies Record<Kind, () => Promise<number>>,
  };
}

await runBench(async (bench) => {
  const { load, work } = await setUp(bench);

  progress('warming up');
  await ask<FullLoad>(load, { kind: 'full', parallel: PARALLEL, ms: 2_000 });
  const fullMs = Math.max(4_000 * scale, 1_000);
  const full = await ask<FullLoad>(load, { kind: 'full', parallel: PARALLEL, ms: fullMs });
  const perSecond = full.perSecond * PART_OF_FULL;
  const paced = (ms: number): Promise<PacedLoad> => ask<PacedLoad>(load, { kind: 'paced', perSecond, ms });

  const tookMs: Record<Kind, number[]> = { backup: [], export: [] };
  const copyBytes: Record<Kind, number> = { backup: 0, export: 0 };
  /** In parts of one length, with a copy and without one: what the beginning of a part does is in both. */
  const pacedUntil = async (isOver: () => boolean): Promise<PacedLoad> => {
    const parts: PacedLoad[] = [];
    do parts.push(await paced(PART_MS));
    while (!isOver());
    return {
      latenciesMs: parts.flatMap(({ latenciesMs }) => latenciesMs),
      errors: parts.reduce((sum, { errors }) => sum + errors, 0),
      firstError: parts.find(({ firstError }) => firstError !== null)?.firstError ?? null,
    };
  };
  const quietly = (): Promise<PacedLoad> => {
    const endsAt = systemClock.monotonic() + phaseMs - PART_MS / 2;
    return pacedUntil(() => systemClock.monotonic() >= endsAt);
  };
  const beside = async (kind: Kind): Promise<PacedLoad> => {
    const startedAt = systemClock.monotonic();
    let isOver = false;
    const copying = work[kind]().then((bytes) => {
      copyBytes[kind] = bytes;
      isOver = true;
      tookMs[kind].push(systemClock.monotonic() - startedAt);
    });
    // Whoever waits for it hears of a failure; until then nobody does.
    copying.catch(() => {
      isOver = true;
    });
    const found = await pacedUntil(() => isOver);
    await copying;
    return found;
  };

  await work.backup();
  const pairs: Record<Kind, Pair[]> = { backup: [], export: [] };
  for (const kind of KINDS) {
    const startedAt = systemClock.monotonic();
    for (let round = 1; round <= COPIES[kind].rounds; round += 1) {
      if (round > 1 && systemClock.monotonic() - startedAt > ROUNDS_MS_MAX) break;
      progress(
        `${round} of ${COPIES[kind].rounds}: ${format(perSecond, 0)} turns/s, quiet and beside: ${kind}`,
      );
      const quiet = await quietly();
      pairs[kind].push({ quiet, beside: await beside(kind) });
      await pause(PAUSE_MS);
    }
  }

  const p99 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.99);
  const p50 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.5);
  const ratiosOf = (kind: Kind): number[] => pairs[kind].map(({ quiet, beside }) => p99(beside) / p99(quiet));
  // What the machine does to the figure by itself: two quiet phases, compared in the same way.
  const quiets = KINDS.flatMap((kind) => pairs[kind].map(({ quiet }) => quiet));
  const noise = quiets.slice(1).map((quiet, index) => p99(quiet) / p99(quiets[index] ?? quiet));
  const besides: Record<Kind, PacedLoad[]> = {
    backup: pairs.backup.map(({ beside }) => beside),
    export: pairs.export.map(({ beside }) => beside),
  };
  const loads = [...quiets, ...besides.backup, ...besides.export];
  const turns = loads.reduce((sum, { latenciesMs }) => sum + latenciesMs.length, 0);
  const errors = loads.reduce((sum, load) => sum + load.errors, full.errors);
  const rowOf = (name: string, of: readonly PacedLoad[], ratios: readonly number[] | null): string[] => [
    name,
    formatSpread(spreadOf(of.map(p50))),
    formatSpread(spreadOf(of.map(p99))),
    format(
      quantile(
        of.flatMap(({ latenciesMs }) => latenciesMs),
        0.99,
      ),
    ),
    ratios ? formatSpread(spreadOf(ratios)) : '',
  ];
  const copyOf = (kind: Kind): string =>
    `${format(copyBytes[kind] / 1e6, 0)} MB in ${format(quantile(tookMs[kind], 0.5) / 1000, 1)} s`;
  const isEnough = quiets.reduce((sum, { latenciesMs }) => sum + latenciesMs.length, 0) >= TURNS_MIN;

  publish({
    name: 'neighbours',
    title: `A backup and an export beside ${NEIGHBOURS} chatting tenants`,
    about:
      `Turns at a fixed ${format(perSecond, 0)}/s, 30 % of the full ${format(full.perSecond, 0)}/s: ` +
      `${format(phaseMs / 1000, 0)} s without a copy, then as long as one takes (a backup of ${copyOf('backup')}, ` +
      `${pairs.backup.length} times; an export, sent too, of ${copyOf('export')}, ${pairs.export.length} times). ` +
      'Median and, in brackets, the range.',
    head: ['', 'p50, ms', 'p99, ms', 'p99 of all, ms', 'p99 ratio'],
    rows: [
      rowOf('quiet', quiets, null),
      ...KINDS.map((kind) => rowOf(kind, besides[kind], ratiosOf(kind))),
      ['two quiet phases', '', '', '', formatSpread(spreadOf(noise))],
    ],
    goals: [
      ...KINDS.map((kind) => ({
        goal: `p99 beside a ${kind === 'backup' ? 'backup' : 'tenant that exports'} grows by less than 20 %`,
        found: `${format(spreadOf(ratiosOf(kind)).median)}×`,
        verdict: isEnough ? verdictOf(ratiosOf(kind), GROWTH_MAX) : ('unclear' as const),
      })),
      {
        goal: 'no turn fails',
        found: `${errors} of ${turns}`,
        verdict: errors === 0 ? ('met' as const) : ('missed' as const),
      },
    ],
    data: {
      fullPerSecond: full.perSecond,
      perSecond,
      copyBytes,
      noise: spreadOf(noise),
      ratios: Object.fromEntries(KINDS.map((kind) => [kind, spreadOf(ratiosOf(kind))])),
      tookMs,
      rounds: Object.fromEntries(
        KINDS.map((kind) => [
          kind,
          pairs[kind].map(({ quiet, beside }) => ({ quietP99Ms: p99(quiet), p99Ms: p99(beside) })),
        ]),
      ),
    },
  });
});
