import Database from 'better-sqlite3';
import { Fault } from '../fault.ts';
import { JobEndedError } from './file-worker.ts';
import { InvalidDatabaseError } from './known-schema.ts';
import { WalSyncError } from './wal-sync.ts';

// What went wrong with a tenant's file, and whose fault it is.

const BROKEN = /^SQLITE_(CORRUPT|NOTADB|IOERR_(READ|DATA|CORRUPTFS))/;
/** What a file was that cannot be worked on, whoever tries. */
export const isBroken = (error: unknown): boolean =>
  error instanceof InvalidDatabaseError || (error instanceof Database.SqliteError && BROKEN.test(error.code));

/** What a copy failed with, whatever the file is; what is not told here may be either. */
export const isNoFaultOfTheFile = (error: unknown): boolean =>
  error instanceof Fault ||
  error instanceof JobEndedError ||
  (error instanceof Database.SqliteError && /^SQLITE_(BUSY|LOCKED|FULL|NOMEM)/.test(error.code));

/** As `translate`, for a job: whether the disk is full or a folder is missing has nothing to do with the tenant. */
export function translateJob(error: unknown): unknown {
  if (isBroken(error)) return unavailable(error);
  if (error instanceof JobEndedError && error.reason === 'timeout') {
    return new Fault(
      'tenant_unavailable',
      'The work on the data of this tenant took too long and was ended.',
      {
        cause: error,
      },
    );
  }
  const isBusy = error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');
  return isBusy ? translate(error) : error;
}

/** Why a file from elsewhere is refused; null where it is not to blame. */
export function reasonToRefuse(error: unknown): string | null {
  if (error instanceof InvalidDatabaseError) return error.message;
  if (!(error instanceof JobEndedError)) return null;
  if (error.reason === 'timeout') return 'To look at it took too long.';
  return error.reason === 'crash' ? 'It made the process fail that looked at it.' : null;
}

export const unavailable = (cause: unknown): Fault =>
  new Fault('tenant_unavailable', 'The data of this tenant cannot be reached at the moment.', { cause });

/** SQLite's codes for a file that is damaged or out of reach; extended codes begin with these. */
const DAMAGE = /^SQLITE_(CORRUPT|NOTADB|IOERR|CANTOPEN|READONLY|PERM|AUTH)/;
export const isDamage = (error: unknown): boolean =>
  error instanceof WalSyncError || (error instanceof Database.SqliteError && DAMAGE.test(error.code));

/** Whether another process had the file locked, or has written to it in between. */
export const isLocked = (error: unknown): boolean =>
  error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');

/** SQLite's errors as faults; what is not SQLite's passes unchanged. */
export function translate(error: unknown): unknown {
  if (isDamage(error)) return unavailable(error);
  if (error instanceof Database.SqliteError && error.code === 'SQLITE_FULL') {
    return new Fault(
      'storage_quota_exceeded',
      "There is no room for more data of this tenant: its limit is reached, or the server's disk is full.",
      { cause: error },
    );
  }
  if (isLocked(error)) {
    return new Fault('overloaded', 'The data of this tenant is locked by another program; try again.', {
      details: { retryAfterSeconds: 1 },
      cause: error,
    });
  }
  return error;
}
