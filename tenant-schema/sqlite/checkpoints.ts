import type Database from 'better-sqlite3';

/** What SQLite tells of a `-wal`: its pages, and how many of them have been moved into the main file. */
export interface WalState {
  busy: number;
  log: number;
  checkpointed: number;
}

/** So many pages that have not been moved are worth a checkpoint: less than SQLite's own 1,000, for what comes meanwhile. */
const PAGES = 700;
/** A `-wal` so long should have been begun anew: the rest is moved sooner. */
const PAGES_OVERDUE = 1400;
const REST_PAGES = 100;
/** A look takes two microseconds. */
const COMMITS_BETWEEN_LOOKS = 5;
/** How often a checkpoint is begun anew for what was committed while it was made. */
const ROUNDS_MAX = 5;

/**
 * Watches the `-wal` of an open file.
 * @param commits how many transactions were committed through `db`
 * @returns what tells, after each commit, whether a checkpoint is worth it now
 */
export function watchWal(db: Database.Database, commits: () => number): () => boolean {
  const look = db.prepare<[], WalState>('PRAGMA wal_checkpoint(NOOP)');
  let lookedAt = 0;
  return () => {
    if (commits() - lookedAt < COMMITS_BETWEEN_LOOKS) return false;
    lookedAt = commits();
    const state = look.get();
    if (!state) return false;
    return state.log - state.checkpointed >= (state.log >= PAGES_OVERDUE ? REST_PAGES : PAGES);
  };
}

/**
 * Moves what is in the `-wal` into the main file while others commit. SQLite begins the `-wal` anew only with a commit
 * that finds all of it moved, and a checkpoint knows nothing of what was committed after its beginning: so another one
 * is made, which has less to do, until one finds nothing new.
 * @param move makes one checkpoint that waits for nobody
 */
export function checkpointAll(move: () => WalState | undefined): void {
  let pages: number | null = null;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const state = move();
    // Somebody else makes one, or reads what is older.
    if (state?.busy !== 0 || state.checkpointed < state.log) return;
    if (state.log === pages) return;
    pages = state.log;
  }
}
