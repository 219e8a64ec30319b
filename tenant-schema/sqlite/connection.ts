import { chmodSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';

export interface OpenOptions {
  /** True refuses to make an empty database where a file is missing. */
  mustExist: boolean;
  /**
   * `FULL` fsyncs at every commit; with `NORMAL` whoever needs a commit to survive a power cut syncs the `-wal`. `OFF`
   * is for a file that nobody knows yet: it is synced once, when it is whole.
   */
  synchronous: 'FULL' | 'NORMAL' | 'OFF';
  /** Looks at the file before anything in it is changed; throws to refuse it. */
  accept?(db: Database.Database): void;
}

/** How long a statement waits for another process's lock; a longer one is for the caller to wait out, off the loop. */
const BUSY_TIMEOUT_MS = 200;

/**
 * Opens a SQLite file the one way this program uses it. SQLite forgets nearly all of these settings when a
 * file is closed, so they are set at every open. A file it makes can be read by its owner only.
 * The caller closes it with `closeDatabase`.
 * @throws better-sqlite3's error when the file is missing, not a database or cannot be put into WAL mode; the
 *   handle is closed then.
 */
export function openDatabase(path: string, options: OpenOptions): Database.Database {
  if (!options.mustExist) makePrivateFile(path);
  // The busy timeout comes first, since every later line may meet a lock. It is short because the wait
  // stops the event loop, and with it every other tenant.
  const db = new Database(path, { fileMustExist: options.mustExist, timeout: BUSY_TIMEOUT_MS });
  try {
    options.accept?.(db);
    // This build of SQLite opens a WAL file as NORMAL unless told otherwise. Before the mode of the journal, whose
    // change writes to a new file.
    db.pragma(`synchronous = ${options.synchronous}`);
    // Readers and the writer do not wait for each other. SQLite answers with the old mode, not with an
    // error, where WAL is impossible.
    const mode = db.pragma('journal_mode = WAL', { simple: true });
    if (mode !== 'wal') throw new Error(`The database could not be put into WAL mode; it is "${mode}".`);
    // Off unless asked for, at each connection.
    db.pragma('foreign_keys = ON');
    // A file that came from elsewhere must not run functions through its own views and triggers.
    db.pragma('trusted_schema = OFF');
    // 2 MB instead of up to 16 MB: hundreds of files are open at once.
    db.pragma('cache_size = -2000');
    // A -wal that one big transaction has grown is cut back at the next checkpoint instead of staying.
    db.pragma(`journal_size_limit = ${4 * 1024 * 1024}`);
    // A large sort must not leave rows of a tenant in a file outside the data folder.
    db.pragma('temp_store = MEMORY');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * SQLite would make the file with the umask's mode; it gives `-wal` and `-shm` the mode of the main file. A
 * file that is there is not opened here: closing it again would drop the locks SQLite holds on it.
 */
function makePrivateFile(path: string): void {
  try {
    writeFileSync(path, '', { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return;
    throw error;
  }
  // Whatever the umask took away.
  chmodSync(path, 0o600);
}

export interface CloseResult {
  /** True when everything is in the main file, so that it stands alone; false when a `-wal` has to stay. */
  checkpointed: boolean;
  /** What the checkpoint failed with, if it did, for the log. */
  error?: unknown;
}

/** Moves the `-wal` into the main file and closes. A checkpoint that fails is told, never thrown: the handle is closed all the same. */
export function closeDatabase(db: Database.Database): CloseResult {
  try {
    // Whoever still reads is another program; waiting for it here would stop every other tenant.
    db.pragma('busy_timeout = 0');
    // Another reader makes this answer `busy: 1` without an error, so the row has to be looked at.
    const row = db.prepare<[], { busy: number }>('PRAGMA wal_checkpoint(TRUNCATE)').get();
    return { checkpointed: row?.busy === 0 };
  } catch (error) {
    return { checkpointed: false, error };
  } finally {
    db.close();
  }
}

/**
 * Brings what a crash left in a `-wal` or a journal into a file that this process has not open.
 * @throws SQLite's error where it is damaged or locked
 */
export function settleDatabase(path: string): CloseResult {
  const db = new Database(path, { fileMustExist: true, timeout: 1000 });
  try {
    // Only a first read makes SQLite look at what lies beside the file.
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
  } catch (error) {
    closeDatabase(db);
    throw error;
  }
  return closeDatabase(db);
}
