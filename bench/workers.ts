import { format, formatSpread, spreadOf, verdictAtLeast } from './lib/figures.ts';
import type { ChatTarget, FullLoad, LoadRequest } from './lib/load.ts';
import { cpuMicrosOf } from './lib/process-figures.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { NOT_APPLICABLE, progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// Do two processes do as much with a second of a processor as one? None of them is bound to a processor of its own:
// what is compared is work for CPU time, not speed.

const COUNTS = [1, 2] as const;
const TENANTS = 20;
const PARALLEL = 64;
const ROUNDS = 5;
const PHASE_MS = 2_000;
const PART_MIN = 0.9;

const { scale } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);

interface Side {
  workers: number;
  pid: number;
  load: Worker;
  rates: number[];
  perCpuSecond: number[];
}

/** Whether the server that was built knows the setting. */
async function hasWorkers(): Promise<boolean> {
  const path = new URL('../dist/server/config.js', import.meta.url).href;
  const { loadConfig } = (await import(path)) as { loadConfig(environment: object): object };
  return 'workers' in loadConfig({});
}

async function startSide(bench: Bench, upstreamUrl: string, workers: number): Promise<Side> {
  const { url, pid, admin } = await startProduct(bench, {
    cpus: null,
    upstreamUrl,
    folder: `workers-${workers}`,
    env: { WORKERS: String(workers) },
  });
  const targets: ChatTarget[] = [];
  for (let index = 0; index < TENANTS; index += 1) {
    targets.push(await admin.makeChatter(`Tenant ${index}`));
  }
  const load = bench.worker('load.ts', { cpus: null });
  await load.ask({ kind: 'begin', url, targets, connections: PARALLEL } satisfies LoadRequest);
  return { workers, pid, load, rates: [], perCpuSecond: [] };
}

async function main(bench: Bench): Promise<void> {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: null }).ask<string>({});
  const sides: Side[] = [];
  for (const count of COUNTS) {
    progress(`starting with ${count} of them`);
    sides.push(await startSide(bench, upstreamUrl, count));
  }
  // The first round warms up and is not counted.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const { workers, pid, load, rates, perCpuSecond } of round % 2 === 1 ? sides : sides.toReversed()) {
      progress(`round ${round} of ${ROUNDS}: ${workers}`);
      const before = cpuMicrosOf(pid);
      const request = { kind: 'full', parallel: PARALLEL, ms: phaseMs } satisfies LoadRequest;
      const { done, perSecond, errors, firstError } = await load.ask<FullLoad>(request);
      if (errors > 0) throw new Error(`${errors} turns failed, the first with ${firstError}`);
      if (round === 0) continue;
      rates.push(perSecond);
      perCpuSecond.push((done * 1e6) / (cpuMicrosOf(pid) - before));
    }
  }

  const [one, two] = sides;
  const ratios = (figure: 'rates' | 'perCpuSecond'): number[] =>
    (two?.[figure] ?? []).map((value, round) => value / (one?.[figure][round] ?? Number.NaN));
  const found = ratios('perCpuSecond');
  publish({
    name: 'workers',
    title: 'One process and two',
    about:
      `${TENANTS} tenants, ${PARALLEL} callers that do not pause, all processes free to use every processor, the load and the ` +
      `model too. Median and, in brackets, the range over ${ROUNDS} rounds of ${format(phaseMs / 1000, 1)} s.`,
    head: ['WORKERS', 'turns per CPU second', 'turns/s'],
    rows: [
      ...sides.map(({ workers, rates, perCpuSecond }) => [
        String(workers),
        formatSpread(spreadOf(perCpuSecond), 0),
        formatSpread(spreadOf(rates), 0),
      ]),
      ['2 to 1', formatSpread(spreadOf(found)), formatSpread(spreadOf(ratios('rates')))],
    ],
    goals: [
      {
        goal: 'turns per CPU second with 2 within 10 % of 1',
        found: `${format(spreadOf(found).median)}×`,
        verdict: verdictAtLeast(found, PART_MIN),
      },
    ],
    data: {
      ratio: spreadOf(found),
      sides: sides.map(({ workers, rates, perCpuSecond }) => ({ workers, rates, perCpuSecond })),
    },
  });
}

if (await hasWorkers()) await runBench(main);
else {
  progress('This server has no setting WORKERS.');
  process.exitCode = NOT_APPLICABLE;
}
