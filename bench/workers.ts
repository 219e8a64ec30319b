import { format, formatSpread, spreadOf, verdictAtLeast } from './lib/figures.ts';
import type { ChatTarget, FullLoad, LoadRequest } from './lib/load.ts';
import { cpuMicrosOf } from './lib/process-figures.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { NOT_APPLICABLE, progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// Do two processes do as much with a second of a processor as one? None of them is bound to a processor of its own:
// what is compared is work for CPU time, not speed.

const TENANTS = 20;
const PARALLEL = 64;
const ROUNDS = 4;
const PHASE_MS = 2_000;
/** Of each process. What a turn goes through has been compiled by then; two that share it compile it twice. */
const WARM_UP_TURNS = 2_500;
const PART_MIN = 0.9;

const { scale } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);

/** A server under its own load. */
interface Server {
  pid: number;
  load: Worker;
  parallel: number;
}

interface Side {
  name: string;
  /** All of them are loaded at once. */
  servers: Server[];
  /** Of all servers together. */
  processes: number;
  rates: number[];
  perCpuSecond: number[];
}

/** Whether the server that was built knows the setting. */
async function hasWorkers(): Promise<boolean> {
  const path = new URL('../dist/server/config.js', import.meta.url).href;
  const { loadConfig } = (await import(path)) as { loadConfig(environment: object): object };
  return 'workers' in loadConfig({});
}

async function startServer(
  bench: Bench,
  upstreamUrl: string,
  { folder, workers, part }: { folder: string; workers: number; part: number },
): Promise<Server> {
  const { url, pid, admin } = await startProduct(bench, {
    cpus: null,
    upstreamUrl,
    folder,
    env: { WORKERS: String(workers) },
  });
  const targets: ChatTarget[] = [];
  for (let index = 0; index < TENANTS * part; index += 1) {
    targets.push(await admin.makeChatter(`Tenant ${index}`));
  }
  const parallel = PARALLEL * part;
  const load = bench.worker('load.ts', { cpus: null });
  await load.ask({ kind: 'begin', url, targets, connections: parallel } satisfies LoadRequest);
  return { pid, load, parallel };
}

/** Turns per second, and per second of a processor. */
async function measure(
  servers: readonly Server[],
): Promise<{ done: number; rate: number; perCpuSecond: number }> {
  const cpuMicros = (): number => servers.reduce((sum, { pid }) => sum + cpuMicrosOf(pid), 0);
  const before = cpuMicros();
  const loads = await Promise.all(
    servers.map(({ load, parallel }) =>
      load.ask<FullLoad>({ kind: 'full', parallel, ms: phaseMs } satisfies LoadRequest),
    ),
  );
  const failed = loads.find(({ errors }) => errors > 0);
  if (failed) throw new Error(`${failed.errors} turns failed, the first with ${failed.firstError}`);
  const sum = (figure: 'done' | 'perSecond'): number =>
    loads.reduce((total, load) => total + load[figure], 0);
  const done = sum('done');
  return { done, rate: sum('perSecond'), perCpuSecond: (done * 1e6) / (cpuMicros() - before) };
}

async function main(bench: Bench): Promise<void> {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: null }).ask<string>({});
  const start = async (name: string, ...servers: { workers: number; part: number }[]): Promise<Side> => {
    progress(`starting ${name}`);
    const started: Server[] = [];
    for (const server of servers) {
      const folder = `${name.replaceAll(' ', '-')}-${started.length}`;
      started.push(await startServer(bench, upstreamUrl, { folder, ...server }));
    }
    const processes = servers.reduce((total, { workers }) => total + workers, 0);
    return { name, servers: started, processes, rates: [], perCpuSecond: [] };
  };
  const one = await start('1 process', { workers: 1, part: 1 });
  const two = await start('2 processes', { workers: 2, part: 1 });
  // What two processes can do at most on this machine: they have nothing to do with each other.
  const apart = await start('2 servers', { workers: 1, part: 0.5 }, { workers: 1, part: 0.5 });
  const sides = [one, two, apart];
  for (const { name, servers, processes } of sides) {
    progress(`warming up: ${name}`);
    for (let done = 0; done < WARM_UP_TURNS * processes * scale; ) done += (await measure(servers)).done;
  }
  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const { name, servers, rates, perCpuSecond } of round % 2 === 1 ? sides : sides.toReversed()) {
      progress(`round ${round} of ${ROUNDS}: ${name}`);
      const found = await measure(servers);
      rates.push(found.rate);
      perCpuSecond.push(found.perCpuSecond);
    }
  }

  const ratios = (side: Side, figure: 'rates' | 'perCpuSecond', to: Side): number[] =>
    side[figure].map((value, round) => value / (to[figure][round] ?? Number.NaN));
  const found = ratios(two, 'perCpuSecond', one);
  const toApart = ratios(two, 'perCpuSecond', apart);
  const compared = (side: Side, to: Side): string[] =>
    (['perCpuSecond', 'rates'] as const).map((figure) => formatSpread(spreadOf(ratios(side, figure, to))));
  publish({
    name: 'workers',
    title: 'One process and two',
    about:
      `${TENANTS} tenants, ${PARALLEL} callers that do not pause, all processes free to use every processor, the load and the ` +
      'model too. "2 servers" are two of one process, each with a folder, half of the tenants and half of the callers. Median ' +
      `and, in brackets, the range over ${ROUNDS} rounds of ${format(phaseMs / 1000, 1)} s.`,
    head: ['', 'turns per CPU second', 'turns/s'],
    rows: [
      ...sides.map(({ name, rates, perCpuSecond }) => [
        name,
        formatSpread(spreadOf(perCpuSecond), 0),
        formatSpread(spreadOf(rates), 0),
      ]),
      ['2 processes to 1', ...compared(two, one)],
      ['2 servers to 1 process', ...compared(apart, one)],
      ['2 processes to 2 servers', ...compared(two, apart)],
    ],
    goals: [
      {
        goal: 'turns per CPU second with 2 within 10 % of 1',
        found: `${format(spreadOf(found).median)}×`,
        verdict: verdictAtLeast(found, PART_MIN),
      },
      {
        goal: 'the same, of what two servers that share nothing do here',
        found: `${format(spreadOf(toApart).median)}×`,
        verdict: verdictAtLeast(toApart, PART_MIN),
      },
    ],
    data: {
      ratio: spreadOf(found),
      toTwoServers: spreadOf(toApart),
      sides: sides.map(({ name, rates, perCpuSecond }) => ({ name, rates, perCpuSecond })),
    },
  });
}

if (await hasWorkers()) await runBench(main);
else {
  progress('This server has no setting WORKERS.');
  process.exitCode = NOT_APPLICABLE;
}
