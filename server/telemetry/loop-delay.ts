import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock } from '../../tenant-schema/clock.ts';

const SAMPLE_MS = 500;
const RESOLUTION_MS = 10;
/**
 * One late sample may be a single stall that is over, as the start on a busy machine is: who comes after it has
 * nothing to wait for.
 */
const LATE_SAMPLES_MIN = 2;

/** Tells whether the event loop is so late that new work would only make everybody wait. */
export interface LoopDelay {
  overloaded(): boolean;
  stop(): void;
}

/** Judges means of the delay, sample by sample: over `delayMsMax` in each of the last two is overloaded. */
export function createLateness(delayMsMax: number): { add(meanMs: number): void; overloaded(): boolean } {
  let lateSamples = 0;
  return {
    add(meanMs) {
      lateSamples = meanMs > delayMsMax ? lateSamples + 1 : 0;
    },
    overloaded: () => lateSamples >= LATE_SAMPLES_MIN,
  };
}

/** Samples the event loop's mean delay twice a second, and judges it as `createLateness` does. */
export function watchLoopDelay(delayMsMax: number, clock: Pick<Clock, 'monotonic'>): LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const lateness = createLateness(delayMsMax);
  let sampledAtMs = clock.monotonic();
  const timer = setInterval(() => {
    const nowMs = clock.monotonic();
    // A reset forgets the last tick too: an empty sample is one turn of the loop that took all of its time. The
    // histogram counts its own resolution as part of the delay.
    lateness.add(histogram.count === 0 ? nowMs - sampledAtMs : histogram.mean / 1e6 - RESOLUTION_MS);
    histogram.reset();
    sampledAtMs = nowMs;
  }, SAMPLE_MS);
  timer.unref();
  return {
    overloaded: lateness.overloaded,
    stop() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}
