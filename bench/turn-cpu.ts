import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatSpread, spreadOf } from './lib/figures.ts';
import type { FullLoad, LoadRequest, Target } from './lib/load.ts';
import { cpuMicrosOf } from './lib/process-figures.ts';
import { runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { startProduct } from './lib/sides.ts';

// How much of the processor a turn costs the server: without limits, with all of them, and beside another version.

const TENANTS = 20;
const PARALLEL = 16;
const ROUNDS = 5;
const PHASE_MS = 2_000;
const PRICES = { openai: { bench: { input: 0.15, output: 0.6 } } };
const ALL_LIMITS = {
  requests_per_minute: 1e9,
  tokens_per_minute: 1e12,
  max_concurrent_turns: 1000,
  monthly_spend_usd: 1e6,
  storage_bytes_max: 1e12,
};

interface Side {
  name: string;
  pid: number;
  load: Worker;
}

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);
/** The `main.js` of another version that was built, for a before and after. */
const before = process.env.BENCH_BEFORE || undefined;
await runBench(async (bench) => {
  const others = cpus?.others ?? null;
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  const prices = join(bench.folder, 'prices.json');
  writeFileSync(prices, JSON.stringify(PRICES));

  const sideOf = async (name: string, limits: object, main?: string): Promise<Side> => {
    const { url, pid, admin } = await startProduct(bench, {
      main,
      cpus,
      upstreamUrl,
      folder: name,
      env: { PRICES_FILE: prices },
    });
    const targets: Target[] = [];
    for (let index = 0; index < TENANTS; index += 1) {
      targets.push(await admin.makeChatter(`Tenant ${index}`, limits));
    }
    const load = bench.worker('load.ts', { cpus: others });
    await load.ask({ kind: 'begin', url, targets, connections: PARALLEL } satisfies LoadRequest);
    return { name, pid, load };
  };
  const sides = [
    ...(before ? [await sideOf('before', {}, before)] : []),
    await sideOf('without limits', {}),
    await sideOf('all limits', ALL_LIMITS),
  ];

  const micros = new Map(sides.map(({ name }) => [name, [] as number[]]));
  // The first round warms up and is not counted.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const { name, pid, load } of sides) {
      progress(`${round} of ${ROUNDS}: ${name}`);
      const startedAt = cpuMicrosOf(pid);
      const { done, errors } = await load.ask<FullLoad>({ kind: 'full', parallel: PARALLEL, ms: phaseMs });
      if (errors > 0) throw new Error(`${errors} turns failed`);
      if (round > 0) micros.get(name)?.push((cpuMicrosOf(pid) - startedAt) / done);
    }
  }

  const [first] = sides;
  const base = micros.get(first?.name ?? '') ?? [];
  publish({
    name: 'turn-cpu',
    title: 'What a turn costs the server',
    about:
      `Microseconds of the processor for a turn, all threads of the server's process: ${PARALLEL} callers that do not pause, ` +
      `plain JSON, ${TENANTS} tenants, each version in turn. Median and, in brackets, the range over ${ROUNDS} rounds of ${phaseMs / 1000} s.`,
    head: ['', 'CPU for a turn, µs', `to ${first?.name}`],
    rows: sides.map(({ name }) => {
      const own = micros.get(name) ?? [];
      const ratios = own.map((value, round) => value / (base[round] ?? value));
      return [name, formatSpread(spreadOf(own), 0), formatSpread(spreadOf(ratios))];
    }),
    goals: [],
    data: { micros: Object.fromEntries(micros) },
  });
});
