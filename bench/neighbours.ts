import { join } from 'node:path';
import { systemClock } from '../tenant-schema/clock.ts';
import { writeConversations } from './lib/conversation-rows.ts';
import { format, formatSpread, quantile, spreadOf, verdictOf } from './lib/figures.ts';
import type { ChatTarget, FullLoad, LoadRequest, PacedLoad } from './lib/load.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// Do the neighbours notice when a large tenant is backed up, or takes its data away? Turns at 30 % of the full rate.

const NEIGHBOURS = 50;
const LARGE_BYTES = 500 * 1000 * 1000;
const PART_OF_FULL = 0.3;
const PARALLEL = 32;
const GROWTH_MAX = 1.2;
/** In a phase of fewer turns the 99th percentile is one or two of them. */
const TURNS_MIN = 500;
const ROUNDS = 2;
/** On a slow disk no round begins after so long. */
const ROUNDS_MS_MAX = 150_000;
const PHASE_MS = 6_000;
/** While a copy is made, turns are sent in parts of so long, until it is done. */
const PART_MS = 2_000;
/** Between two phases, for what the one before left for the disk to do. */
const PAUSE_MS = 1_000;
/** Short enough to lie in a page of the table: a longer text takes a page of 4 KiB beside it. */
const TEXT_BYTES = 600;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 2_000);
const largeBytes = Math.max(LARGE_BYTES * scale, 10e6);
const others = cpus?.others ?? null;

const KINDS = ['backup', 'export'] as const;
type Kind = (typeof KINDS)[number];
const SIDES = ['quiet', ...KINDS] as const;
type Side = (typeof SIDES)[number];
type Round = Record<Side, PacedLoad>;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ask = <T>(load: Worker, request: LoadRequest): Promise<T> => load.ask<T>(request);

async function setUp(bench: Bench) {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  const { url, admin, dataDir } = await startProduct(bench, {
    cpus,
    upstreamUrl,
    folder: 'data',
    env: { BACKUP_KEEP: '1', BACKUP_KEEP_DAILY: '0', BACKUP_KEEP_WEEKLY: '0' },
  });
  progress(`making a tenant of ${format(largeBytes / 1e6, 0)} MB and its neighbours`);
  const large = await admin.makeChatter('Large');
  // Closed, so that its rows can be written by this process.
  await admin.quiesce(large.tenantId);
  writeConversations(join(dataDir, 'tenants', `${large.tenantId}.db`), {
    configId: large.configId,
    messagesEach: 100,
    textBytes: TEXT_BYTES,
    isEnough: (_, fileBytes) => fileBytes >= largeBytes,
  });
  const targets: ChatTarget[] = [];
  for (let index = 0; index < NEIGHBOURS; index += 1) {
    targets.push(await admin.makeChatter(`Neighbour ${index}`));
  }
  const load = bench.worker('load.ts', { cpus: others });
  await ask(load, { kind: 'begin', url, targets, connections: PARALLEL * 4 });
  return { admin, largeId: large.tenantId, load };
}

await runBench(async (bench) => {
  const { admin, largeId, load } = await setUp(bench);

  progress('warming up');
  await ask<FullLoad>(load, { kind: 'full', parallel: PARALLEL, ms: 2_000 });
  const fullMs = Math.max(4_000 * scale, 1_000);
  const full = await ask<FullLoad>(load, { kind: 'full', parallel: PARALLEL, ms: fullMs });
  const perSecond = full.perSecond * PART_OF_FULL;
  const paced = (ms: number): Promise<PacedLoad> => ask<PacedLoad>(load, { kind: 'paced', perSecond, ms });

  const work: Record<Kind, () => Promise<number>> = {
    backup: () => admin.backUp(largeId),
    export: () => admin.exportTenant(largeId),
  };
  const tookMs: Record<Kind, number[]> = { backup: [], export: [] };
  let copyBytes = 0;
  const beside = async (kind: Kind): Promise<PacedLoad> => {
    const startedAt = systemClock.monotonic();
    let isOver = false;
    const copying = work[kind]().then((bytes) => {
      copyBytes = bytes;
      isOver = true;
      tookMs[kind].push(systemClock.monotonic() - startedAt);
    });
    // Whoever waits for it hears of a failure; until then nobody does.
    copying.catch(() => {
      isOver = true;
    });
    const parts: PacedLoad[] = [];
    do parts.push(await paced(PART_MS));
    while (!isOver);
    await copying;
    return {
      latenciesMs: parts.flatMap(({ latenciesMs }) => latenciesMs),
      errors: parts.reduce((sum, { errors }) => sum + errors, 0),
      firstError: parts.find(({ firstError }) => firstError !== null)?.firstError ?? null,
    };
  };

  await work.backup();
  const rounds: Round[] = [];
  const startedAt = systemClock.monotonic();
  for (let round = 1; round <= ROUNDS; round += 1) {
    if (round > 1 && systemClock.monotonic() - startedAt > ROUNDS_MS_MAX) break;
    progress(
      `${round} of ${ROUNDS}: ${format(perSecond, 0)} turns/s, quiet, during a backup, during an export`,
    );
    const quiet = await paced(phaseMs);
    const backup = await beside('backup');
    await pause(PAUSE_MS);
    const exported = await beside('export');
    await pause(PAUSE_MS);
    rounds.push({ quiet, backup, export: exported });
  }

  const p99 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.99);
  const p50 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.5);
  const ratiosOf = (kind: Kind): number[] => rounds.map((round) => p99(round[kind]) / p99(round.quiet));
  // What the machine does to the figure by itself: two quiet phases, compared in the same way.
  const noise = rounds.slice(1).map(({ quiet }, index) => p99(quiet) / p99(rounds[index]?.quiet ?? quiet));
  const all = (side: Side): number[] => rounds.flatMap((round) => round[side].latenciesMs);
  const turns = SIDES.reduce((sum, side) => sum + all(side).length, 0);
  const errors = rounds.reduce(
    (sum, round) => SIDES.reduce((sumOfRound, side) => sumOfRound + round[side].errors, sum),
    full.errors,
  );
  const enough = perSecond * (phaseMs / 1000) >= TURNS_MIN;

  publish({
    name: 'neighbours',
    title: `A backup and an export of ${format(copyBytes / 1e6, 0)} MB beside ${NEIGHBOURS} chatting tenants`,
    about:
      `Turns at a fixed ${format(perSecond, 0)}/s, 30 % of the full ${format(full.perSecond, 0)}/s, in ${rounds.length} rounds: ` +
      `${format(phaseMs / 1000, 0)} s without, then as long as a copy takes (a backup ` +
      `${format(quantile(tookMs.backup, 0.5) / 1000, 1)} s, an export, sent too, ${format(quantile(tookMs.export, 0.5) / 1000, 1)} s). ` +
      'Median and, in brackets, the range over the rounds.',
    head: ['', 'p50, ms', 'p99, ms', 'p99 of all, ms', 'p99 ratio'],
    rows: [
      ...SIDES.map((side) => [
        side,
        formatSpread(spreadOf(rounds.map((round) => p50(round[side])))),
        formatSpread(spreadOf(rounds.map((round) => p99(round[side])))),
        format(quantile(all(side), 0.99)),
        side === 'quiet' ? '' : formatSpread(spreadOf(ratiosOf(side))),
      ]),
      ['two quiet phases', '', '', '', formatSpread(spreadOf(noise))],
    ],
    goals: [
      ...KINDS.map((kind) => ({
        goal: `p99 beside a ${kind === 'backup' ? 'backup' : 'tenant that exports'} grows by less than 20 %`,
        found: `${format(spreadOf(ratiosOf(kind)).median)}×`,
        verdict: enough ? verdictOf(ratiosOf(kind), GROWTH_MAX) : ('unclear' as const),
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
      rounds: rounds.map((round) =>
        Object.fromEntries(SIDES.map((side) => [side, { p50Ms: p50(round[side]), p99Ms: p99(round[side]) }])),
      ),
    },
  });
});
