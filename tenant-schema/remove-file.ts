import { lstat, open, rm } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';

/** A file up to this size goes at once. */
const AT_ONCE_BYTES = 16 * 1024 * 1024;
const STEP_BYTES = 8 * 1024 * 1024;
const PAUSE_MS = 10;

/**
 * Removes a file that nobody has open, if it is there; a large one piece by piece. What a file system gives up at
 * once, and tells the disk of, every other file's fsync waits for: measured, up to 130 ms for 200 MB.
 */
export async function removeFile(path: string): Promise<void> {
  const entry = await lstat(path).catch(() => null);
  if (entry?.isFile() && entry.size > AT_ONCE_BYTES && entry.nlink === 1) {
    const file = await open(path, 'r+');
    try {
      for (let left = entry.size - STEP_BYTES; left > 0; left -= STEP_BYTES) {
        await file.truncate(left);
        await pause(PAUSE_MS);
      }
    } finally {
      await file.close();
    }
  }
  await rm(path, { force: true });
}
