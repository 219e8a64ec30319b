import type Database from 'better-sqlite3';
import { type CloseResult, closeDatabase, settleDatabase } from './connection.ts';
import type { OpenFile } from './side-steps.ts';
import { type SideThread, ThreadEndedError } from './side-thread.ts';

/** Closes the file with its handle `db`, which nobody uses any more. Never rejects; see `closeDatabase`. */
export type CloseAside = (file: OpenFile, db: Database.Database) => Promise<CloseResult>;

/**
 * So many files at once are open in the thread, which each take as many descriptors as here; enough for it to have
 * something to do while the event loop is busy.
 */
const AT_ONCE = 8;

/**
 * Closes files beside the event loop. Whoever closes a database last moves its `-wal` into the main file, and SQLite
 * waits for the disk three times for that. So a thread opens the file, then it is closed here, which takes no time, and
 * the thread is the last. Where the thread fails, it is done here.
 */
export function closingIn(thread: SideThread): CloseAside {
  let count = 0;
  const lanes = Array.from({ length: AT_ONCE }, () => Promise.resolve());

  const closeOne: CloseAside = async (file, db) => {
    try {
      await thread.ask('openToClose', file);
    } catch {
      return closeDatabase(db);
    }
    try {
      db.close();
      return await thread.ask('close', file);
    } catch (error) {
      // With the thread its handle has gone, and the -wal stays.
      return error instanceof ThreadEndedError ? settleHere(file.path) : { checkpointed: false, error };
    }
  };

  return (file, db) => {
    const lane = count++ % AT_ONCE;
    const closed = (lanes[lane] ?? Promise.resolve()).then(() => closeOne(file, db));
    lanes[lane] = closed.then(() => {});
    return closed;
  };
}

function settleHere(path: string): CloseResult {
  try {
    return settleDatabase(path);
  } catch (error) {
    return { checkpointed: false, error };
  }
}
