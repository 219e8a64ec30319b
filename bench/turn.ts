import {
  format,
  formatSpread,
  quantile,
  type Spread,
  spreadOf,
  verdictAtLeast,
  verdictOf,
} from './lib/figures.ts';
import type { FullLoad, LoadRequest, PacedLoad } from './lib/load.ts';
import { cpuMicrosOf } from './lib/process-figures.ts';
import { runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { bareSide, directSide, portkeySide, productSide, type Side } from './lib/sides.ts';

// What does a chat turn cost that is authenticated, kept and accounted for? Beside the same work done by hand, beside a
// gateway that keeps nothing, and beside no gateway at all. With `--quick` the two ratios alone.

const PARALLEL = 64;
const CONVERSATION_TURNS = 5;
const PER_SECOND = 300;
const TO_PORTKEY_MIN = 4;
const TO_BARE_MIN = 0.65;

const isQuick = process.argv.includes('--quick');
const { scale, cpus } = readSettings();
const rounds = isQuick ? 3 : 5;
const phaseMs = isQuick ? 2_000 : Math.max(2_000 * scale, 1_000);
/** Of each. What a turn goes through has been compiled by then, or most of it. */
const warmUpTurns = isQuick ? 1_000 : 4_000 * scale;
const WARM_UP_MS = 1_000;

const OURS = 'this server';
const BARE = 'by hand';
const STREAMED = 'by hand, the model streamed';
const PORTKEY = 'Portkey';
const DIRECT = 'no gateway';

interface Phase {
  done: number;
  perSecond: number;
  cpuMicros: number;
  /** The part of one processor that the server used; below 1 it waited: for the disk, or for more load. */
  busy: number;
}

interface Runner {
  name: string;
  side: Side;
  load: Worker;
  phases: Phase[];
  paced: PacedLoad[];
}

async function fullPhase({ side, load }: Runner, ms: number): Promise<Phase> {
  const before = cpuMicrosOf(side.pid);
  const found = await load.ask<FullLoad>({ kind: 'full', parallel: PARALLEL, ms } satisfies LoadRequest);
  const micros = cpuMicrosOf(side.pid) - before;
  if (found.errors > 0) throw new Error(`${found.errors} turns failed, the first with ${found.firstError}`);
  return {
    done: found.done,
    perSecond: found.perSecond,
    cpuMicros: micros / found.done,
    busy: micros / 1e6 / (found.done / found.perSecond),
  };
}

await runBench(async (bench) => {
  const others = cpus?.others ?? null;
  const upstream = bench.worker('upstream.ts', { cpus: others });
  const upstreamUrl = await upstream.ask<string>({});
  const load = bench.worker('load.ts', { cpus: others });
  const runners: Runner[] = [];
  const add = async (name: string, side: Side | null): Promise<void> => {
    if (!side) return progress(`${name} is not installed and left out`);
    runners.push({ name, side, load, phases: [], paced: [] });
  };
  progress('starting');
  await add(OURS, await productSide(bench, { cpus, upstreamUrl, folder: 'ours' }));
  await add(BARE, await bareSide(bench, cpus, { upstreamUrl, folder: 'bare', streams: false }));
  await add(PORTKEY, await portkeySide(bench, 'plain', { cpus, upstreamUrl }));
  if (!isQuick) {
    await add(STREAMED, await bareSide(bench, cpus, { upstreamUrl, folder: 'streamed', streams: true }));
    await add(DIRECT, directSide(upstreamUrl, upstream.pid));
  }
  const turnTo = ({ side: { url, targets } }: Runner): Promise<unknown> =>
    load.ask({
      kind: 'begin',
      url,
      targets,
      connections: PARALLEL,
      conversationTurns: CONVERSATION_TURNS,
    } satisfies LoadRequest);

  for (const runner of runners) {
    progress(`warming up: ${runner.name}`);
    await turnTo(runner);
    for (let done = 0; done < warmUpTurns; ) done += (await fullPhase(runner, WARM_UP_MS)).done;
  }
  for (let round = 1; round <= rounds; round += 1) {
    for (const runner of round % 2 === 1 ? runners : runners.toReversed()) {
      progress(`full rate, round ${round} of ${rounds}: ${runner.name}`);
      await turnTo(runner);
      runner.phases.push(await fullPhase(runner, phaseMs));
    }
  }
  const compared = runners.filter(({ name }) => !isQuick && [OURS, PORTKEY, DIRECT].includes(name));
  for (let round = 1; compared.length > 0 && round <= rounds; round += 1) {
    for (const runner of round % 2 === 0 ? compared : compared.toReversed()) {
      progress(`${PER_SECOND} turns/s, round ${round} of ${rounds}: ${runner.name}`);
      await turnTo(runner);
      const found = await load.ask<PacedLoad>({ kind: 'paced', perSecond: PER_SECOND, ms: phaseMs });
      if (found.errors > 0) progress(`${found.errors} turns failed, the first with ${found.firstError}`);
      runner.paced.push(found);
    }
  }

  const of = (name: string): Runner | undefined => runners.find((runner) => runner.name === name);
  const ours = of(OURS)?.phases ?? [];
  const rateRatios = (name: string): number[] =>
    (of(name)?.phases ?? []).map(
      ({ perSecond }, round) => (ours[round]?.perSecond ?? Number.NaN) / perSecond,
    );
  const cpuRatios = (name: string): number[] =>
    (of(name)?.phases ?? []).map(
      ({ cpuMicros }, round) => cpuMicros / (ours[round]?.cpuMicros ?? Number.NaN),
    );
  const spread = (values: readonly number[], digits = 2): string =>
    values.length === 0 ? '' : formatSpread(spreadOf(values), digits);

  /** What a gateway adds to the answer's way, by quantile, over each round. */
  const added = (name: string, part: number): number[] =>
    (of(name)?.paced ?? []).map(({ latenciesMs }, round) => {
      const direct = of(DIRECT)?.paced[round]?.latenciesMs ?? [];
      return quantile(latenciesMs, part) - quantile(direct, part);
    });
  const failures = (name: string): number =>
    (of(name)?.paced ?? []).reduce((sum, { errors }) => sum + errors, 0);
  const addedRatios = (part: number): number[] =>
    added(OURS, part).map((ms, round) => ms / (added(PORTKEY, part)[round] ?? Number.NaN));

  const spreads: Record<string, Spread> = {};
  const goal = (text: string, ratios: number[], verdict: 'met' | 'missed' | 'unclear') => {
    spreads[text] = spreadOf(ratios);
    return ratios.length === 0
      ? { goal: text, found: 'not measured', verdict: 'unclear' as const }
      : { goal: text, found: `${format(spreadOf(ratios).median)}×`, verdict };
  };
  const toBare = rateRatios(BARE);
  const toPortkey = rateRatios(PORTKEY);
  const cpuToPortkey = cpuRatios(PORTKEY);
  const cpuToBare = cpuRatios(BARE);

  publish({
    name: isQuick ? 'turn-quick' : 'turn',
    title: 'A chat turn, kept',
    about:
      `Plain JSON, a model that answers at once, one tenant, ${PARALLEL} callers that do not pause, conversations of ` +
      `${CONVERSATION_TURNS} turns; the server on one processor. Median and, in brackets, the range over ${rounds} rounds of ` +
      `${format(phaseMs / 1000, 1)} s in which all take turns. "Busy" is the part of its processor that a server used: below ` +
      `1 it waited for the disk or for more load.${isQuick ? '' : ` "Added" is at ${PER_SECOND} turns/s, to the time without a gateway.`}`,
    head: [
      '',
      'turns/s',
      'CPU s per 1,000 turns',
      'busy',
      'our rate to it',
      'its CPU to ours',
      ...(isQuick ? [] : ['added p50, ms', 'added p99, ms']),
    ],
    rows: runners.map(({ name, phases }) => [
      name,
      spread(
        phases.map(({ perSecond }) => perSecond),
        0,
      ),
      name === DIRECT ? '' : spread(phases.map(({ cpuMicros }) => cpuMicros / 1000)),
      name === DIRECT ? '' : format(spreadOf(phases.map(({ busy }) => busy)).median),
      name === OURS ? '' : spread(rateRatios(name)),
      name === OURS || name === DIRECT ? '' : spread(cpuRatios(name)),
      ...(isQuick ? [] : [0.5, 0.99].map((part) => (name === DIRECT ? '' : spread(added(name, part))))),
    ]),
    goals: [
      goal('at least 4× the turns of Portkey', toPortkey, verdictAtLeast(toPortkey, TO_PORTKEY_MIN)),
      goal('at least 65 % of the turns by hand', toBare, verdictAtLeast(toBare, TO_BARE_MIN)),
      goal('the same in CPU: 4× Portkey', cpuToPortkey, verdictAtLeast(cpuToPortkey, TO_PORTKEY_MIN)),
      goal('the same in CPU: 65 % of by hand', cpuToBare, verdictAtLeast(cpuToBare, TO_BARE_MIN)),
      ...(isQuick
        ? []
        : [
            {
              goal: `no turn fails at ${PER_SECOND} turns/s`,
              found: `${failures(OURS)} of ours, ${failures(PORTKEY)} of Portkey's`,
              verdict: failures(OURS) === 0 ? ('met' as const) : ('missed' as const),
            },
            goal(
              `at ${PER_SECOND} turns/s less added at p50 than by Portkey`,
              addedRatios(0.5),
              verdictOf(addedRatios(0.5), 1),
            ),
            goal(
              `at ${PER_SECOND} turns/s less added at p99 than by Portkey`,
              addedRatios(0.99),
              verdictOf(addedRatios(0.99), 1),
            ),
          ]),
    ],
    data: {
      ratios: spreads,
      sides: Object.fromEntries(
        runners.map(({ name, phases, paced }) => [
          name,
          {
            phases,
            paced: paced.map(({ latenciesMs }) => ({
              p50Ms: quantile(latenciesMs, 0.5),
              p99Ms: quantile(latenciesMs, 0.99),
            })),
          },
        ]),
      ),
    },
  });
});
