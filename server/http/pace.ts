import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../../tenant-schema/clock.ts';

/** Waits until so many more bytes may go; at once while others have been slower than the pace. */
export type Pace = (bytes: number) => Promise<void>;

/**
 * What files that are being sent together have. On loopback they would go three times as fast, and leave those who chat
 * nothing of the event loop for as long.
 */
export const FILE_BYTES_PER_SECOND = 64 * 1024 * 1024;

/** A shorter wait is made up for by the next one; timers know no fractions of a millisecond. */
const WAIT_MS_MIN = 1;

/** Holds all who ask, together, to so many bytes per second. Nothing is saved up while nobody asks. */
export function createPace(
  bytesPerSecond: number,
  clock: Pick<Clock, 'monotonic'>,
  wait: (ms: number) => Promise<void> = setTimeout,
): Pace {
  let freeAt = 0;
  return async (bytes) => {
    const now = clock.monotonic();
    const waitMs = Math.max(freeAt - now, 0);
    freeAt = now + waitMs + (bytes * 1000) / bytesPerSecond;
    if (waitMs >= WAIT_MS_MIN) await wait(waitMs);
  };
}
