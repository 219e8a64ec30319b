import { monitorEventLoopDelay } from 'node:perf_hooks';

const SAMPLE_MS = 500;
const RESOLUTION_MS = 10;

/** Tells whether the event loop is so late that new work would only make everybody wait. */
export interface LoopDelay {
  overloaded(): boolean;
  stop(): void;
}

/** Samples the event loop's mean delay twice a second; over `delayMsMax` in the last sample is overloaded. */
export function watchLoopDelay(delayMsMax: number): LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let late = false;
  const timer = setInterval(() => {
    // An empty sample has no mean; the histogram counts its own resolution as part of the delay.
    const meanMs = histogram.count === 0 ? 0 : histogram.mean / 1e6 - RESOLUTION_MS;
    late = meanMs > delayMsMax;
    histogram.reset();
  }, SAMPLE_MS);
  timer.unref();
  return {
    overloaded: () => late,
    stop() {
      clearInterval(timer);
      histogram.disable();
    },
  };
}
