import { setTimeout as delay } from 'node:timers/promises';
import { isLocked } from './errors.ts';

// Where other processes of the server write to the same file, a lock is theirs and short: the loop is stopped for no
// longer than a commit takes, and what it takes longer is waited out off the loop.

/** How long a statement waits, on the loop, in a file that other processes use too. */
export const SHARED_BUSY_MS = 20;
const LOCK_WAITS_MS = [5, 10, 20, 40, 80, 160, 320, 500, 500, 500, 500, 500, 500, 500];

/** A lock of another process of the server that kept work from being begun. */
export class LockedError extends Error {
  constructor(cause: unknown) {
    super('The file is locked.', { cause });
  }
}

/** What work on a file failed with: a LockedError where it found the file locked and had written nothing. */
export const orLocked = (error: unknown, hasWritten: boolean): unknown =>
  isLocked(error) && !hasWritten ? new LockedError(error) : error;

/** Begins work anew for some seconds while it ends with a LockedError. @throws the last lock's own error */
export async function patiently<T>(attempt: () => Promise<T>): Promise<T> {
  for (const waitMs of LOCK_WAITS_MS) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof LockedError)) throw error;
      // Not all who wait come back in the same moment.
      await delay(waitMs * (0.5 + Math.random()));
    }
  }
  return attempt().catch((error: unknown) => {
    throw error instanceof LockedError ? error.cause : error;
  });
}
