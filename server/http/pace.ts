import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../../tenant-schema/clock.ts';

/** Waits until so many more bytes may go; at once while others have been slower than the pace. */
export type Pace = (bytes: number, signal?: AbortSignal) => Promise<void>;

/** A shorter wait is made up for by the next one; timers know no fractions of a millisecond. */
const WAIT_MS_MIN = 1;

/** How `createPace` waits. */
export type Wait = (ms: number, signal: AbortSignal | undefined) => Promise<void>;

const wait: Wait = (ms, signal) => setTimeout(ms, undefined, { signal });

/** Holds all who ask, together, to so many bytes per second. Nothing is saved up while nobody asks. */
export function createPace(
  bytesPerSecond: number,
  clock: Pick<Clock, 'monotonic'>,
  waitFor: Wait = wait,
): Pace {
  let freeAt = 0;
  return async (bytes, signal) => {
    const now = clock.monotonic();
    const waitMs = Math.max(freeAt - now, 0);
    freeAt = now + waitMs + (bytes * 1000) / bytesPerSecond;
    if (waitMs >= WAIT_MS_MIN) await waitFor(waitMs, signal);
  };
}
