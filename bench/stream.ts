import { format, formatSpread, spreadOf, verdictOf } from './lib/figures.ts';
import { cpuMicrosOf } from './lib/process-figures.ts';
import { type Bench, type Probe, runBench, type Worker } from './lib/processes.ts';
import { progress, publish } from './lib/report.ts';
import { readSettings } from './lib/settings.ts';
import { pipeSide, portkeySide, productSide, type Side, streamTarget } from './lib/sides.ts';
import type { StreamRequest, StreamRun } from './lib/stream-load.ts';
import type { StreamPace } from './lib/stream-pace.ts';

// A thousand answers at once, piece by piece: what a piece costs, what an open stream holds, and whether anybody waits.

const STREAMS = 1_000;
const PACE: StreamPace = { pieces: 100, everyMs: 150 };
const RAMP_MS = 1_000;
const LOOP_DELAY_MS_MAX = 50;
const WARM_UP: StreamPace = { pieces: 40, everyMs: 20 };
const WARM_UP_STREAMS = 100;

const { scale, cpus } = readSettings();
const rounds = scale === 1 ? 2 : 1;
const streams = Math.max(Math.round(STREAMS * scale), 50);
const others = cpus?.others ?? null;

interface Found extends StreamRun {
  cpuMicrosPerPiece: number;
  residentBytesPerStream: number;
  heldBytesPerStream: number;
  loopDelayP99Ms: number;
}

interface Parts {
  bench: Bench;
  upstream: Worker;
  load: Worker;
}

/** One repetition, in a server of its own: memory that another repetition has left behind hides what a stream takes. */
async function measure({ bench, upstream, load }: Parts, side: Side): Promise<Found> {
  const [target] = side.targets;
  if (!target) throw new Error('There is nobody to chat with.');
  const request: StreamRequest = { url: side.url, target: streamTarget(target), streams, rampMs: RAMP_MS };
  await upstream.ask(WARM_UP);
  await load.ask({ ...request, streams: WARM_UP_STREAMS, rampMs: 200 } satisfies StreamRequest);
  await upstream.ask(PACE);
  const before = await bench.probe(side.pid);
  const cpuBefore = cpuMicrosOf(side.pid);
  const run = load.ask<StreamRun>(request);
  // All have begun and none has ended.
  const whenAllAreOpen = (RAMP_MS + PACE.pieces * PACE.everyMs) / 2;
  const middle = await new Promise<Probe>((resolve, reject) => {
    setTimeout(() => bench.probe(side.pid).then(resolve, reject), whenAllAreOpen);
  });
  const found = await run;
  const cpuMicros = cpuMicrosOf(side.pid) - cpuBefore;
  const after = await bench.probe(side.pid);
  await bench.stop(side.pid);
  if (found.errors > 0) throw new Error(`${found.errors} streams failed, the first with ${found.firstError}`);
  return {
    ...found,
    cpuMicrosPerPiece: cpuMicros / found.pieces,
    residentBytesPerStream: (middle.residentBytes - before.residentBytes) / streams,
    heldBytesPerStream: (middle.heldBytes - before.heldBytes) / streams,
    loopDelayP99Ms: Math.max(middle.loopDelayP99Ms, after.loopDelayP99Ms),
  };
}

await runBench(async (bench) => {
  const upstream = bench.worker('stream-upstream.ts', { cpus: others });
  const upstreamUrl = await upstream.ask<string>(PACE);
  const load = bench.worker('stream-load.ts', { cpus: others });
  const options = { cpus, upstreamUrl, probed: true };
  const sides: Record<string, (round: number) => Promise<Side | null>> = {
    'this server': (round) => productSide(bench, { ...options, folder: `ours-${round}` }),
    'a pipe': () => pipeSide(bench, options),
    Portkey: () => portkeySide(bench, 'streams', options),
  };
  const found: Record<string, Found[]> = {};
  for (let round = 1; round <= rounds; round += 1) {
    const names = Object.keys(sides);
    for (const name of round % 2 === 1 ? names : names.toReversed()) {
      progress(`${streams} streams, round ${round} of ${rounds}: ${name}`);
      const side = await sides[name]?.(round);
      if (!side) progress(`${name} is not installed and left out`);
      else found[name] = [...(found[name] ?? []), await measure({ bench, upstream, load }, side)];
    }
  }

  const ours = found['this server'] ?? [];
  const ratios = (name: string): number[] =>
    (found[name] ?? []).map(
      ({ cpuMicrosPerPiece }, round) => (ours[round]?.cpuMicrosPerPiece ?? Number.NaN) / cpuMicrosPerPiece,
    );
  const spread = (runs: Found[], figure: (run: Found) => number, digits = 1): string =>
    formatSpread(spreadOf(runs.map(figure)), digits);
  const loopDelays = ours.map(({ loopDelayP99Ms }) => loopDelayP99Ms);
  const firsts = ours.map(({ firstDelayP99Ms }) => firstDelayP99Ms);

  publish({
    name: 'stream',
    title: `${streams} open streams`,
    about:
      `Each of ${PACE.pieces} pieces, one every ${PACE.everyMs} ms, all open at once; ours are turns that are kept. Median and, ` +
      `in brackets, the range over ${rounds} rounds, each in a process of its own. CPU is that of the whole run, beginnings and ` +
      'ends too. A delay is from the sending of a piece by the model to its arrival.',
    head: [
      '',
      'CPU per piece, µs',
      'ours to it',
      'resident per stream, KB',
      'held per stream, KB',
      'loop delay p99, ms',
      'piece delay p50, ms',
      'p99, ms',
    ],
    rows: Object.entries(found).map(([name, runs]) => [
      name,
      spread(runs, (run) => run.cpuMicrosPerPiece),
      runs === ours ? '' : formatSpread(spreadOf(ratios(name))),
      spread(runs, (run) => run.residentBytesPerStream / 1000),
      spread(runs, (run) => run.heldBytesPerStream / 1000),
      spread(runs, (run) => run.loopDelayP99Ms),
      spread(runs, (run) => run.delayP50Ms),
      spread(runs, (run) => run.delayP99Ms),
    ]),
    goals: [
      {
        goal: `event-loop delay p99 under ${LOOP_DELAY_MS_MAX} ms`,
        found: `${format(spreadOf(loopDelays).median, 1)} ms`,
        verdict: verdictOf(loopDelays, LOOP_DELAY_MS_MAX),
      },
      {
        goal: 'the first piece is there before the second is sent',
        found: `${format(spreadOf(firsts).median, 0)} of ${PACE.everyMs} ms at p99`,
        verdict: verdictOf(firsts, PACE.everyMs),
      },
    ],
    data: {
      streams,
      pace: PACE,
      ratios: Object.fromEntries(Object.keys(found).map((name) => [name, spreadOf(ratios(name))])),
      found,
    },
  });
});
