import { join } from 'node:path';
import { request } from 'undici';
import { systemClock, toTimestamp } from '../tenant-schema/clock.ts';
import { format, formatSpread, quantile, spreadOf, verdictOf } from './lib/figures.ts';
import type { FullLoad, LoadRequest, PacedLoad, Target } from './lib/load.ts';
import { type LogRows, writeLogRows } from './lib/log-rows.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// Do the neighbours notice when a tenant with a million log rows looks at them, or when old ones are removed?

const ROWS = 1_000_000;
const DAYS = 60;
const KEEP_DAYS = 20;
const NEIGHBOURS = 20;
const PART_OF_FULL = 0.3;
const PARALLEL = 32;
const GROWTH_MAX = 1.2;
const TURNS_MIN = 1000;
const ROUNDS = 4;
const PHASE_MS = 4_000;
const PAUSE_MS = 500;
/** What somebody's dashboard asks who is never tired of it. */
const CALLS_PER_SECOND = 10;
const DAY_MS = 24 * 60 * 60 * 1000;
const RETRY_MS = 20;

const KINDS = ['lists', 'usage', 'retention'] as const;
type Kind = (typeof KINDS)[number];

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_500);
const rowCount = Math.max(Math.round(ROWS * scale), 20_000);
const others = cpus?.others ?? null;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ask = <T>(load: Worker, question: LoadRequest): Promise<T> => load.ask<T>(question);

async function setUp(bench: Bench) {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  const { url, admin, adminToken, dataDir } = await startProduct(bench, {
    cpus,
    upstreamUrl,
    folder: 'data',
    env: { LOG_DAYS: '0' },
  });
  progress(`making a tenant with ${rowCount} log rows, and its neighbours`);
  const large = await admin.makeChatter('Large');
  // Closed, so that its rows can be written by this process.
  await admin.quiesce(large.tenantId);
  const rows = writeLogRows(
    join(dataDir, 'tenants', `${large.tenantId}.db`),
    systemClock.now(),
    DAYS,
    rowCount,
  );
  const targets: Target[] = [];
  for (let index = 0; index < NEIGHBOURS; index += 1) {
    targets.push(await admin.makeChatter(`Neighbour ${index}`));
  }
  const load = bench.worker('load.ts', { cpus: others });
  await ask(load, { kind: 'begin', url, targets, connections: PARALLEL * 4 });
  return { url, adminToken, large, rows, load };
}

type SetUp = Awaited<ReturnType<typeof setUp>>;

/** The calls of a dashboard, one after the other and again. */
function pathsOf({ configIds: [large = '', small = ''], conversationId, user }: LogRows) {
  const daysAgo = (days: number): string => toTimestamp(systemClock.now() - days * DAY_MS);
  const day = (days: number): string => daysAgo(days).slice(0, 10);
  return {
    lists: [
      '/logs?limit=100',
      '/logs?status=error&limit=100',
      `/logs?config_id=${large}&status=error&limit=100`,
      `/logs?config_id=${small}&user=${user}`,
      `/logs?user=${user}&status=error`,
      `/logs?user=${user}&status=aborted`,
      `/logs?config_id=${large}&status=ok&since=${day(40)}&until=${day(30)}&limit=100`,
      `/logs?conversation_id=${conversationId}`,
    ],
    usage: [
      `/usage?since=${day(30)}`,
      `/usage?group_by=model&since=${day(30)}`,
      '/usage?group_by=config',
      '/usage?group_by=model',
      `/usage?group_by=day&since=${daysAgo(7)}`,
    ],
  };
}

/** Calls as the large tenant, at a fixed rate; gives how long each took. */
async function dashboard(
  { url, large }: SetUp,
  paths: readonly string[],
  isOver: () => boolean,
): Promise<number[]> {
  const tookMs: number[] = [];
  const startedAt = systemClock.monotonic();
  for (let index = 0; !isOver(); index += 1) {
    const dueAt = startedAt + (index * 1000) / CALLS_PER_SECOND;
    await pause(Math.max(dueAt - systemClock.monotonic(), 0));
    const sentAt = systemClock.monotonic();
    const path = `/api/v1${paths[index % paths.length] ?? ''}`;
    const { statusCode, body } = await request(`${url}${path}`, { headers: { 'x-api-key': large.apiKey } });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`${path} answered ${statusCode}: ${text}`);
    tookMs.push(systemClock.monotonic() - sentAt);
  }
  return tookMs;
}

/** Has old rows removed until it is over; gives how many. */
async function retention({ url, adminToken, large }: SetUp, isOver: () => boolean): Promise<number> {
  const ended = new AbortController();
  let removed = 0;
  const prune = async (): Promise<void> => {
    const { statusCode, body } = await request(`${url}/api/v1/admin/logs/prune`, {
      method: 'POST',
      headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ tenant_id: large.tenantId, days: KEEP_DAYS }),
      signal: ended.signal,
    });
    // The run of the phase before may not have noticed yet that nobody waits for it.
    if (statusCode === 429) {
      await body.dump();
      await pause(RETRY_MS);
      return prune();
    }
    for await (const chunk of body) {
      for (const [, count] of String(chunk).matchAll(/"removed":(\d+)/g)) removed = Number(count);
    }
  };
  const pruning = prune().catch((error: unknown) => {
    if (!ended.signal.aborted) throw error;
  });
  while (!isOver()) await pause(RETRY_MS);
  ended.abort();
  await pruning;
  return removed;
}

await runBench(async (bench) => {
  const made = await setUp(bench);
  const { load } = made;
  const paths = pathsOf(made.rows);

  progress('warming up');
  await ask<FullLoad>(load, { kind: 'full', parallel: PARALLEL, ms: 2_000 });
  const full = await ask<FullLoad>(load, {
    kind: 'full',
    parallel: PARALLEL,
    ms: Math.max(4_000 * scale, 1_000),
  });
  const perSecond = full.perSecond * PART_OF_FULL;
  const paced = async (beside?: (isOver: () => boolean) => Promise<unknown>): Promise<PacedLoad> => {
    let isOver = false;
    const turns = ask<PacedLoad>(load, { kind: 'paced', perSecond, ms: phaseMs }).finally(() => {
      isOver = true;
    });
    const [found] = await Promise.all([turns, beside?.(() => isOver)]);
    await pause(PAUSE_MS);
    return found;
  };

  const tookMs: Record<'lists' | 'usage', number[]> = { lists: [], usage: [] };
  let removed = 0;
  const work: Record<Kind, (isOver: () => boolean) => Promise<void>> = {
    lists: async (isOver) => {
      tookMs.lists.push(...(await dashboard(made, paths.lists, isOver)));
    },
    usage: async (isOver) => {
      tookMs.usage.push(...(await dashboard(made, paths.usage, isOver)));
    },
    retention: async (isOver) => {
      removed += await retention(made, isOver);
    },
  };
  const rounds: Record<'quiet' | Kind, PacedLoad>[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    progress(`${round} of ${ROUNDS}: ${format(perSecond, 0)} turns/s, quiet, then beside each kind of work`);
    rounds.push({
      quiet: await paced(),
      lists: await paced(work.lists),
      usage: await paced(work.usage),
      retention: await paced(work.retention),
    });
  }

  const p99 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.99);
  const p50 = ({ latenciesMs }: PacedLoad): number => quantile(latenciesMs, 0.5);
  const ratiosOf = (kind: Kind): number[] => rounds.map((round) => p99(round[kind]) / p99(round.quiet));
  // What the machine does to the figure by itself: two quiet phases, compared in the same way.
  const noise = rounds.slice(1).map(({ quiet }, index) => p99(quiet) / p99(rounds[index]?.quiet ?? quiet));
  const sides = ['quiet', ...KINDS] as const;
  const all = (side: (typeof sides)[number]): number[] => rounds.flatMap((round) => round[side].latenciesMs);
  const errors = rounds.reduce(
    (sum, round) => sides.reduce((errorsSoFar, side) => errorsSoFar + round[side].errors, sum),
    full.errors,
  );
  const enough = perSecond * (phaseMs / 1000) * ROUNDS >= TURNS_MIN;

  publish({
    name: 'logs',
    title: `${rowCount} log rows of one tenant beside ${NEIGHBOURS} chatting ones`,
    about:
      `Turns at a fixed ${format(perSecond, 0)}/s, 30 % of the full ${format(full.perSecond, 0)}/s, in ${ROUNDS} rounds of ` +
      `${format(phaseMs / 1000, 1)} s each: quiet, beside ${CALLS_PER_SECOND} filtered lists a second, ` +
      `as many sums of usage, and while old rows are removed ` +
      `(${format((removed * 1000) / (phaseMs * ROUNDS), 0)} a second). Median and, in brackets, the range over the rounds.`,
    head: ['', 'turn p50, ms', 'p99, ms', 'p99 of all, ms', 'p99 ratio', 'call p50, ms', 'call p99, ms'],
    rows: [
      ...sides.map((side) => [
        side,
        formatSpread(spreadOf(rounds.map((round) => p50(round[side])))),
        formatSpread(spreadOf(rounds.map((round) => p99(round[side])))),
        format(quantile(all(side), 0.99)),
        side === 'quiet' ? '' : formatSpread(spreadOf(ratiosOf(side))),
        ...(side === 'lists' || side === 'usage'
          ? [format(quantile(tookMs[side], 0.5), 1), format(quantile(tookMs[side], 0.99), 1)]
          : ['', '']),
      ]),
      ['two quiet phases', '', '', '', formatSpread(spreadOf(noise)), '', ''],
    ],
    goals: [
      ...KINDS.map((kind) => ({
        goal: `p99 beside ${kind} grows by less than 20 %`,
        found: `${format(spreadOf(ratiosOf(kind)).median)}×`,
        verdict: enough ? verdictOf(ratiosOf(kind), GROWTH_MAX) : ('unclear' as const),
      })),
      {
        goal: 'no turn fails',
        found: `${errors}`,
        verdict: errors === 0 ? ('met' as const) : ('missed' as const),
      },
    ],
    data: {
      rows: rowCount,
      fullPerSecond: full.perSecond,
      perSecond,
      removed,
      listMs: spreadOf(tookMs.lists),
      usageMs: spreadOf(tookMs.usage),
      noise: spreadOf(noise),
      ratios: Object.fromEntries(KINDS.map((kind) => [kind, spreadOf(ratiosOf(kind))])),
      rounds: rounds.map((round) =>
        Object.fromEntries(sides.map((side) => [side, { p50Ms: p50(round[side]), p99Ms: p99(round[side]) }])),
      ),
    },
  });
});
