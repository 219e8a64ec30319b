import { systemClock } from '../tenant-schema/clock.ts';
import { format, formatSpread, spreadOf, verdictAtLeast, verdictOf } from './lib/figures.ts';
import type { ChatTarget, FullLoad, LoadRequest } from './lib/load.ts';
import { cpuMicrosOf, residentBytesOf } from './lib/process-figures.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { seedTenants } from './lib/seed.ts';
import { readSettings } from './lib/settings.ts';
import { bareSide, startProduct } from './lib/sides.ts';

// Does a server with ten thousand tenants answer as fast, stay as small and start as soon as one with a single one?

const TENANTS = [1, 100, 10_000] as const;
const OPEN_MAX = 256;
const ZIPF = 1;
const PARALLEL = 64;
const ROUNDS = 4;
const PHASE_MS = 3_000;
/** Node.js has compiled by then what turns go through; a server that has done fewer is measured while it does that. */
const WARM_UP_TURNS = 4_000;
const STARTS = 3;
const RATE_MIN = 0.7;
const MEMORY_MAX = 1.3;
const START_MAX = 1.2;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);
const others = cpus?.others ?? null;

/** A server with tenants, under load. */
interface Side {
  name: string;
  count: number;
  pid: number;
  load: Worker;
  rates: number[];
  cpuMicros: number[];
  residentBytes: number[];
}

interface Fleet extends Side {
  folder: string;
  targets: ChatTarget[];
  startsMs: number[];
}

const newSide = (name: string, count: number, load: Worker, pid: number): Side => ({
  name,
  count,
  pid,
  load,
  rates: [],
  cpuMicros: [],
  residentBytes: [],
});

const settings = { MAX_OPEN_TENANTS: String(OPEN_MAX) };

async function makeFleet(bench: Bench, upstreamUrl: string, count: number): Promise<Fleet> {
  const folder = `tenants-${count}`;
  progress(`making ${count} tenants`);
  const first = await startProduct(bench, { cpus, upstreamUrl, folder, env: settings });
  const template = await first.admin.makeChatter('Tenant');
  await first.admin.quiesce(template.tenantId);
  await bench.stop(first.pid);
  const targets: ChatTarget[] = [template, ...seedTenants(first.dataDir, template, count - 1)];
  const load = bench.worker('load.ts', { cpus: others });
  return { ...newSide(String(count), count, load, 0), folder, targets, startsMs: [] };
}

/** The same work done by hand, with as many files open: what SQLite and the disk leave. */
async function startBare(bench: Bench, upstreamUrl: string, count: number): Promise<Side> {
  progress(`making ${count} tenants by hand`);
  const tenants = { count, openMax: OPEN_MAX };
  const { url, pid, targets } = await bareSide(bench, cpus, {
    folder: `bare-${count}`,
    upstreamUrl,
    streams: true,
    tenants,
  });
  const load = bench.worker('load.ts', { cpus: others });
  const begin = { kind: 'begin', url, targets, connections: PARALLEL, zipf: ZIPF } satisfies LoadRequest;
  await load.ask(begin);
  return newSide(`by hand, ${count}`, count, load, pid);
}

async function start(bench: Bench, upstreamUrl: string, fleet: Fleet): Promise<void> {
  const startedAt = systemClock.monotonic();
  const { url, pid } = await startProduct(bench, { cpus, upstreamUrl, folder: fleet.folder, env: settings });
  fleet.startsMs.push(systemClock.monotonic() - startedAt);
  fleet.pid = pid;
  const { targets } = fleet;
  const begin = { kind: 'begin', url, targets, connections: PARALLEL, zipf: ZIPF } satisfies LoadRequest;
  await fleet.load.ask(begin);
}

async function run({ load }: Side): Promise<FullLoad> {
  const found = await load.ask<FullLoad>({
    kind: 'full',
    parallel: PARALLEL,
    ms: phaseMs,
  } satisfies LoadRequest);
  if (found.errors > 0) throw new Error(`${found.errors} turns failed, the first with ${found.firstError}`);
  return found;
}

async function warmUp(side: Side): Promise<void> {
  for (let done = 0; done < WARM_UP_TURNS * scale; ) done += (await run(side)).done;
}

async function phase(side: Side): Promise<void> {
  const before = cpuMicrosOf(side.pid);
  const { done, perSecond } = await run(side);
  side.rates.push(perSecond);
  side.cpuMicros.push((cpuMicrosOf(side.pid) - before) / done);
  side.residentBytes.push(residentBytesOf(side.pid));
}

await runBench(async (bench) => {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  const fleets: Fleet[] = [];
  for (const count of TENANTS) {
    fleets.push(await makeFleet(bench, upstreamUrl, count > 100 ? Math.max(count * scale, 200) : count));
  }
  for (let round = 1; round <= STARTS; round += 1) {
    progress(`start ${round} of ${STARTS}`);
    for (const fleet of fleets) {
      if (round > 1) await bench.stop(fleet.pid);
      await start(bench, upstreamUrl, fleet);
    }
  }
  const [one, hundred, many] = fleets;
  if (!one || !hundred || !many) throw new Error('There are three fleets.');
  const bareOne = await startBare(bench, upstreamUrl, 1);
  const bareMany = await startBare(bench, upstreamUrl, many.count);
  const sides: Side[] = [...fleets, bareOne, bareMany];
  for (const side of sides) {
    progress(`warming up: ${side.name}`);
    await warmUp(side);
  }
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const side of round % 2 === 1 ? sides : sides.toReversed()) {
      progress(`round ${round} of ${ROUNDS}: ${side.name}`);
      await phase(side);
    }
  }
  const ratios = (of: readonly number[], to: readonly number[]): number[] =>
    of.map((value, round) => value / (to[round] ?? Number.NaN));
  const toOne = ratios(many.rates, one.rates);
  const bareToOne = ratios(bareMany.rates, bareOne.rates);
  const memory = ratios(many.residentBytes, hundred.residentBytes);
  const starts = ratios(many.startsMs, one.startsMs);
  const rowOf = (side: Side, first: Side, startsMs: readonly number[] | null): string[] => [
    side.name,
    formatSpread(spreadOf(side.rates), 0),
    side === first ? '' : formatSpread(spreadOf(ratios(side.rates, first.rates))),
    formatSpread(spreadOf(side.cpuMicros.map((micros) => micros / 1000))),
    formatSpread(spreadOf(side.residentBytes.map((bytes) => bytes / 1e6)), 0),
    startsMs ? formatSpread(spreadOf(startsMs), 0) : '',
  ];

  publish({
    name: 'tenants',
    title: `${fleets.map(({ count }) => count).join(', ')} tenants`,
    about:
      `Whom a turn belongs to is chosen by Zipf's law; at most ${OPEN_MAX} files are open. ${PARALLEL} callers that do not pause, ` +
      'each turn a new conversation; by hand the same. Median and, in brackets, the range over ' +
      `${ROUNDS} rounds of ${format(phaseMs / 1000, 1)} s, and over ` +
      `${STARTS} starts, from the start of the process to its first line. Memory is resident, with the server's helpers.`,
    head: ['tenants', 'turns/s', 'rate to one', 'CPU s per 1,000 turns', 'memory, MB', 'start, ms'],
    rows: [
      ...fleets.map((fleet) => rowOf(fleet, one, fleet.startsMs)),
      ...[bareOne, bareMany].map((side) => rowOf(side, bareOne, null)),
    ],
    goals: [
      {
        goal: `with ${many.count} at least 70 % of the rate of one`,
        found: `${format(spreadOf(toOne).median)}×`,
        verdict: verdictAtLeast(toOne, RATE_MIN),
      },
      {
        goal: `with ${many.count} at most 1.3× the memory of ${hundred.count}`,
        found: `${format(spreadOf(memory).median)}×`,
        verdict: verdictOf(memory, MEMORY_MAX),
      },
      {
        goal: `a start with ${many.count} takes no longer than with one (1.2× at most)`,
        found: `${format(spreadOf(starts).median)}×`,
        verdict: verdictOf(starts, START_MAX),
      },
    ],
    data: {
      rateToOne: spreadOf(toOne),
      bareRateToOne: spreadOf(bareToOne),
      memory: spreadOf(memory),
      starts: spreadOf(starts),
      sides: sides.map(({ name, rates, cpuMicros, residentBytes }) => ({
        name,
        rates,
        cpuMicros,
        residentBytes,
      })),
      startsMs: fleets.map(({ count, startsMs }) => ({ count, startsMs })),
    },
  });
});
