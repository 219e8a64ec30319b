import { systemClock } from '../tenant-schema/clock.ts';
import { format, formatSpread, spreadOf, verdictAtLeast, verdictOf } from './lib/figures.ts';
import type { ChatTarget, FullLoad, LoadRequest } from './lib/load.ts';
import { cpuMicrosOf, residentBytesOf } from './lib/process-figures.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { seedTenants } from './lib/seed.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// Does a server with ten thousand tenants answer as fast, stay as small and start as soon as one with a single one?

const TENANTS = [1, 100, 10_000] as const;
const OPEN_MAX = 256;
const ZIPF = 1;
const PARALLEL = 64;
const ROUNDS = 5;
const PHASE_MS = 3_000;
/** Node.js has compiled by then what turns go through; a server that has done fewer is measured while it does that. */
const WARM_UP_TURNS = 6_000;
const STARTS = 3;
const RATE_MIN = 0.7;
const MEMORY_MAX = 1.3;
const START_MAX = 1.2;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);
const others = cpus?.others ?? null;

interface Fleet {
  count: number;
  folder: string;
  targets: ChatTarget[];
  startsMs: number[];
  pid: number;
  load: Worker;
  rates: number[];
  cpuMicros: number[];
  residentBytes: number[];
}

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
  return { count, folder, targets, startsMs: [], pid: 0, load, rates: [], cpuMicros: [], residentBytes: [] };
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

async function run({ load }: Fleet): Promise<FullLoad> {
  const found = await load.ask<FullLoad>({
    kind: 'full',
    parallel: PARALLEL,
    ms: phaseMs,
  } satisfies LoadRequest);
  if (found.errors > 0) throw new Error(`${found.errors} turns failed, the first with ${found.firstError}`);
  return found;
}

async function warmUp(fleet: Fleet): Promise<void> {
  for (let done = 0; done < WARM_UP_TURNS * scale; ) done += (await run(fleet)).done;
}

async function phase(fleet: Fleet): Promise<void> {
  const before = cpuMicrosOf(fleet.pid);
  const { done, perSecond } = await run(fleet);
  fleet.rates.push(perSecond);
  fleet.cpuMicros.push((cpuMicrosOf(fleet.pid) - before) / done);
  fleet.residentBytes.push(residentBytesOf(fleet.pid));
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
  for (const fleet of fleets) {
    progress(`warming up: ${fleet.count} tenants`);
    await warmUp(fleet);
  }
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const fleet of round % 2 === 1 ? fleets : fleets.toReversed()) {
      progress(`round ${round} of ${ROUNDS}: ${fleet.count} tenants`);
      await phase(fleet);
    }
  }
  const [one, hundred, many] = fleets;
  if (!one || !hundred || !many) throw new Error('There are three fleets.');
  const ratios = (of: Fleet, to: Fleet, figure: 'rates' | 'cpuMicros' | 'residentBytes' | 'startsMs') =>
    of[figure].map((value, round) => value / (to[figure][round] ?? Number.NaN));
  const toOne = ratios(many, one, 'rates');
  const memory = ratios(many, hundred, 'residentBytes');
  const starts = ratios(many, one, 'startsMs');

  publish({
    name: 'tenants',
    title: `${fleets.map(({ count }) => count).join(', ')} tenants`,
    about:
      `Whom a turn belongs to is chosen by Zipf's law; at most ${OPEN_MAX} files are open. ${PARALLEL} callers that do not pause, ` +
      `each turn a new conversation. Median and, in brackets, the range over ${ROUNDS} rounds of ${format(phaseMs / 1000, 1)} s, and over ` +
      `${STARTS} starts, from the start of the process to its first line. Memory is resident, with the server's helpers.`,
    head: ['tenants', 'turns/s', 'rate to one', 'CPU s per 1,000 turns', 'memory, MB', 'start, ms'],
    rows: fleets.map((fleet) => [
      String(fleet.count),
      formatSpread(spreadOf(fleet.rates), 0),
      fleet === one ? '' : formatSpread(spreadOf(ratios(fleet, one, 'rates'))),
      formatSpread(spreadOf(fleet.cpuMicros.map((micros) => micros / 1000))),
      formatSpread(spreadOf(fleet.residentBytes.map((bytes) => bytes / 1e6)), 0),
      formatSpread(spreadOf(fleet.startsMs), 0),
    ]),
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
      memory: spreadOf(memory),
      starts: spreadOf(starts),
      fleets: fleets.map(({ count, rates, cpuMicros, residentBytes, startsMs }) => ({
        count,
        rates,
        cpuMicros,
        residentBytes,
        startsMs,
      })),
    },
  });
});
