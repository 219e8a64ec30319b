import { closeSync, fdatasyncSync, openSync } from 'node:fs';
import { systemClock } from '../clock.ts';
import { requireParent } from './require-parent.ts';

// Whoever writes as fast as it can and syncs nothing leaves the disk behind by hundreds of megabytes, and every fsync of
// another tenant's turn waits for them: measured, 100 to 200 ms instead of 1 to 10. Written and synced in small steps, with
// a rest after each, the same is hardly felt.

/** So much is written at a time. */
export const STEP_BYTES = 1024 * 1024;

/** Keeps the disk from falling behind with one file. */
export interface DiskPace {
  /**
   * Has the disk take what was written since the last time, and leaves it alone for a while. Stops the event loop, and
   * the process where nobody waits for its work any more: only for a process of its own.
   */
  rest(): void;
  /** Counts bytes that were written, and rests after each `STEP_BYTES`. */
  wrote(bytes: number): void;
  close(): void;
}

/**
 * @param path a file that nobody else knows of yet: SQLite loses its locks on it when this is closed
 * @param restTimes after a step the disk is left to others for so many times as long as the step took
 */
export function openDiskPace(path: string, restTimes: number): DiskPace {
  const file = openSync(path, 'r');
  let bytesSince = 0;
  let startedAt = systemClock.monotonic();
  const pace: DiskPace = {
    rest() {
      requireParent();
      fdatasyncSync(file);
      const tookMs = systemClock.monotonic() - startedAt;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, tookMs * restTimes);
      bytesSince = 0;
      startedAt = systemClock.monotonic();
    },
    wrote(bytes) {
      bytesSince += bytes;
      if (bytesSince >= STEP_BYTES) pace.rest();
    },
    close: () => closeSync(file),
  };
  return pace;
}
