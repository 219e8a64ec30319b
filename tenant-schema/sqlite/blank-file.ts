import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { Clock } from '../clock.ts';
import type { TenantName } from '../engine.ts';
import { closeDatabase, type OpenOptions, openDatabase } from './connection.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import { type Migrations, migrate } from './migrator.ts';

/**
 * Makes the databases of new tenants. To run every migration costs three times as much as to write down what they
 * lead to, so they are run for the first tenant of a process, and the others' files begin as copies of that one before
 * it had an owner.
 * @returns makes one at a path where there is none; not on the disk yet when it returns
 */
export function createBlankFiles(
  migrations: Migrations,
  clock: Clock,
): (path: string, tenant: TenantName) => void {
  let blank: Buffer | null = null;

  const makeBlank = (path: string): Buffer => {
    // Made by us first, for its mode; SQLite gives the -wal the mode of its database.
    closeSync(openSync(path, 'wx', 0o600));
    const db = openDatabase(path, {
      ...UNKNOWN,
      accept(file) {
        // So that pages can be given back to the disk; afterwards SQLite does not hear of it any more.
        file.pragma('auto_vacuum = INCREMENTAL');
      },
    });
    try {
      migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now: clock.now() });
    } finally {
      closeDatabase(db);
    }
    // Closed and nobody's: it may be read without SQLite.
    return readFileSync(path);
  };

  return (path, { id, name }) => {
    if (blank) writeFileSync(path, blank, { flag: 'wx', mode: 0o600 });
    else blank = makeBlank(path);
    const db = openDatabase(path, UNKNOWN);
    try {
      const now = clock.now();
      db.transaction(() => {
        db.prepare('UPDATE migrations SET applied_at = ?').run(now);
        db.prepare('INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)').run(id, name, now);
      })();
    } finally {
      closeDatabase(db);
    }
  };
}

/** What a crash leaves of a file that nobody knows yet is removed unread; it is synced once, when it is whole. */
const UNKNOWN = { mustExist: true, synchronous: 'OFF' } satisfies OpenOptions;
