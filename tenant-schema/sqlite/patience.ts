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

/**
 * Runs work on an open file.
 * @param commits how many transactions were committed through it
 * @throws LockedError where the work found the file locked before it had written anything, so that it may be begun anew
 */
export async function unlessLocked<T>(commits: () => number, work: () => T | Promise<T>): Promise<T> {
  const before = commits();
  try {
    return await work();
  } catch (error) {
    throw isLocked(error) && commits() === before ? new LockedError(error) : error;
  }
}

/** Begins work anew for some seconds while `unlessLocked` says that it may be. @throws the last lock's own error */
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
