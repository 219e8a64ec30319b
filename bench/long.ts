import { join } from 'node:path';
import { writeConversations } from './lib/conversation-rows.ts';
import { format, formatSpread, spreadOf } from './lib/figures.ts';
import type { FullLoad, LoadRequest } from './lib/load.ts';
import { cpuMicrosOf } from './lib/process-figures.ts';
import { type Bench, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { bareSide, type Side, startProduct } from './lib/sides.ts';

// What does a turn cost whose conversation has two thousand messages, all of which the model is sent?

const CONVERSATIONS = { count: 32, messagesEach: 2_000, textBytes: 200 };
const PARALLEL = 16;
const ROUNDS = 3;
const PHASE_MS = 3_000;

const { scale, cpus } = readSettings();
const phaseMs = Math.max(PHASE_MS * scale, 1_000);
const others = cpus?.others ?? null;

async function longProductSide(bench: Bench, upstreamUrl: string): Promise<Side> {
  const { url, pid, admin, dataDir } = await startProduct(bench, { cpus, upstreamUrl, folder: 'ours' });
  const target = await admin.makeChatter('Tenant');
  // Closed, so that its rows can be written by this process.
  await admin.quiesce(target.tenantId);
  const conversationIds = writeConversations(join(dataDir, 'tenants', `${target.tenantId}.db`), {
    ...CONVERSATIONS,
    configId: target.configId,
    isEnough: (count) => count >= CONVERSATIONS.count,
  });
  return { url, pid, targets: [target], conversationIds };
}

interface Runner {
  name: string;
  side: Side;
  load: Worker;
  rates: number[];
  cpuMicros: number[];
}

await runBench(async (bench) => {
  const upstreamUrl = await bench.worker('upstream.ts', { cpus: others }).ask<string>({});
  progress(`making ${CONVERSATIONS.count} conversations of ${CONVERSATIONS.messagesEach} messages`);
  const bare = { upstreamUrl, folder: 'bare', streams: false, conversations: CONVERSATIONS };
  const sides = {
    'this server': await longProductSide(bench, upstreamUrl),
    'by hand': await bareSide(bench, cpus, bare),
  };
  const runners: Runner[] = [];
  for (const [name, side] of Object.entries(sides)) {
    const load = bench.worker('load.ts', { cpus: others });
    await load.ask({
      kind: 'begin',
      url: side.url,
      targets: side.targets,
      connections: PARALLEL,
      conversationTurns: Number.MAX_SAFE_INTEGER,
      conversationIds: side.conversationIds ?? [],
    } satisfies LoadRequest);
    runners.push({ name, side, load, rates: [], cpuMicros: [] });
  }
  // The first round warms up and is not counted.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const { name, side, load, rates, cpuMicros } of round % 2 === 1 ? runners : runners.toReversed()) {
      progress(`round ${round} of ${ROUNDS}: ${name}`);
      const before = cpuMicrosOf(side.pid);
      const request = { kind: 'full', parallel: PARALLEL, ms: phaseMs } satisfies LoadRequest;
      const { done, perSecond, errors, firstError } = await load.ask<FullLoad>(request);
      if (errors > 0) throw new Error(`${errors} turns failed, the first with ${firstError}`);
      if (round === 0) continue;
      rates.push(perSecond);
      cpuMicros.push((cpuMicrosOf(side.pid) - before) / done);
    }
  }

  const [ours] = runners;
  const ratios = (values: number[], its: number[]): number[] =>
    its.map((value, round) => (values[round] ?? Number.NaN) / value);
  publish({
    name: 'long',
    title: `Turns of conversations of ${CONVERSATIONS.messagesEach} messages`,
    about:
      `Each of ${CONVERSATIONS.textBytes} bytes, all sent to the model at every turn; ${CONVERSATIONS.count} conversations, ${PARALLEL} callers ` +
      `that do not pause. Median and, in brackets, the range over ${ROUNDS} rounds of ${format(phaseMs / 1000, 1)} s.`,
    head: ['', 'turns/s', 'CPU s per 1,000 turns', 'our rate to it', 'its CPU to ours'],
    rows: runners.map(({ name, rates, cpuMicros }) => [
      name,
      formatSpread(spreadOf(rates), 0),
      formatSpread(spreadOf(cpuMicros.map((micros) => micros / 1000))),
      ours?.name === name ? '' : formatSpread(spreadOf(ratios(ours?.rates ?? [], rates))),
      ours?.name === name ? '' : formatSpread(spreadOf(ratios(cpuMicros, ours?.cpuMicros ?? []))),
    ]),
    goals: [],
    data: {
      sides: Object.fromEntries(runners.map(({ name, rates, cpuMicros }) => [name, { rates, cpuMicros }])),
    },
  });
});
