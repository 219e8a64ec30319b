import { statSync } from 'node:fs';
import type Database from 'better-sqlite3';

/** Runs a transaction that may write. */
export type Commit = <T>(work: () => T) => T;

/** SQLite's own number of pages in a `-wal` after which a commit moves them into the main file. */
const CHECKPOINT_PAGES = 1000;

/** Something was in the `-wal` after all. */
class NotNewError extends Error {}

/**
 * Commits without the two syncs that SQLite makes on the event loop before the first frame of a `-wal`: of the header,
 * and, where the file is new, of its folder. A file that is closed and opened all the time would wait for them at each
 * opening. Whoever promises that a commit survives a power cut syncs both, off the loop (`WalSync`).
 *
 * The header is synced because frames that reach the disk before it could be taken for those of an older header, from
 * before the `-wal` was begun again (https://sqlite.org/src/info/ff5be73dee). In an empty file there is none: until
 * header and frames are all there, the `-wal` is void or ends at an earlier commit. (That a new file shows none of what
 * was removed before it, not even after a power cut, is left to the file system: ext4 unless mounted with
 * `data=writeback`, XFS, btrfs, ZFS and APFS see to it.) So the first commit is made at
 * `synchronous = OFF` where, under the lock for writing, the `-wal` is empty, and without a checkpoint, whose syncs are
 * off then too.
 */
export function sparingNewWal(db: Database.Database, walPath: string, commit: Commit): Commit {
  let isNew = true;
  const toNewWal: Commit = (work) => {
    try {
      db.exec('PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0');
      return commit(() => {
        if (statSync(walPath).size > 0) throw new NotNewError();
        return work();
      });
    } finally {
      db.exec(`PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    }
  };
  return (work) => {
    if (!isNew) return commit(work);
    try {
      const result = toNewWal(work);
      isNew = false;
      return result;
    } catch (error) {
      if (!(error instanceof NotNewError)) throw error;
      isNew = false;
      return commit(work);
    }
  };
}
