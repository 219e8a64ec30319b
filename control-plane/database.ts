import Database from 'better-sqlite3';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { Clock } from '../tenant-schema/clock.ts';
import { Fault } from '../tenant-schema/fault.ts';
import type { IdMaker } from '../tenant-schema/ids.ts';
import { closeDatabase, openDatabase } from '../tenant-schema/sqlite/connection.ts';
import { migrate } from '../tenant-schema/sqlite/migrator.ts';
import { quickDrizzle } from '../tenant-schema/sqlite/quick-drizzle.ts';
import { CONTROL_APPLICATION_ID, controlMigrations } from './migrations.ts';

/** What every part of the control plane works with. */
export interface ControlDatabase {
  db: BetterSQLite3Database;
  clock: Clock;
  ids: IdMaker;
  /**
   * Runs a verb that writes. It takes the write lock first: a read that upgrades later can fail at once.
   * @throws `storage_quota_exceeded` where the disk is full, or what the verb throws; nothing is written then
   */
  write<T>(work: () => T): T;
  /** Runs plain SQL inside a `write`. */
  run(sql: string, parameter: string): void;
  /**
   * Writes the file anew, so that nothing is left in it or its `-wal` of what was deleted.
   * @throws `storage_quota_exceeded` where the disk is full
   */
  compact(): void;
  close(): void;
}

/**
 * Opens control.db, made if missing, at the latest schema.
 * @throws what `openDatabase` and `migrate` throw; the handle is closed then.
 */
export function openControlDatabase(path: string, clock: Clock, ids: IdMaker): ControlDatabase {
  // Changes here are rare, and one that was answered must outlive a power cut: above all a revoked key.
  const handle = openDatabase(path, { mustExist: false, synchronous: 'FULL' });
  try {
    migrate(handle, {
      applicationId: CONTROL_APPLICATION_ID,
      migrations: controlMigrations,
      now: clock.now(),
    });
  } catch (error) {
    closeDatabase(handle);
    throw error;
  }
  // What is deleted is overwritten in its page: names of customers must not outlive their purge.
  handle.pragma('secure_delete = ON');
  const db = quickDrizzle(handle);
  return {
    db,
    clock,
    ids,
    write: (work) => filling(() => db.transaction(work, { behavior: 'immediate' })),
    run: (sql, parameter) => {
      handle.prepare(sql).run(parameter);
    },
    compact: () =>
      filling(() => {
        // Pages that were split keep the bytes of rows that have moved, which `secure_delete` does not reach.
        handle.exec('VACUUM');
        handle.pragma('wal_checkpoint(TRUNCATE)');
      }),
    close: () => {
      closeDatabase(handle);
    },
  };
}

/** @throws `storage_quota_exceeded`, or what else an operator has to mend, in the place of SQLite's error */
function filling<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    const code = sqliteCode(error);
    if (code === 'SQLITE_FULL') throw diskFull(error);
    if (code?.startsWith('SQLITE_READONLY')) throw notWritable(error);
    throw error;
  }
}

/** SQLite's error, as such or as the cause of drizzle's. */
function sqliteCode(error: unknown): string | undefined {
  if (error instanceof Database.SqliteError) return error.code;
  return error instanceof Error && error.cause !== undefined ? sqliteCode(error.cause) : undefined;
}

const notWritable = (cause: unknown): Fault =>
  new Fault('internal_error', 'The server may not write to control.db; its operator has to set that right.', {
    cause,
  });

const diskFull = (cause: unknown): Fault =>
  new Fault('storage_quota_exceeded', "The server's disk is full; its operator has to make room.", { cause });
