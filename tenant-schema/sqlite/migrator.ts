import { createHash } from 'node:crypto';
import type { Database } from 'better-sqlite3';

/** One step of a schema: plain SQL that runs inside a transaction with foreign keys off. */
export interface Migration {
  /** 1, 2, 3, …: the file's `user_version` after this step. */
  version: number;
  name: string;
  sql: string;
  /** True where it writes whole tables anew: a copy of the file is worth keeping before. */
  rewritesTables?: true;
}

/** A checked list of migrations with their hashes, made once by `defineMigrations`. */
export interface Migrations {
  readonly latest: number;
  readonly steps: readonly (Readonly<Migration> & { readonly hash: string })[];
}

/**
 * Checks a list of migrations and hashes it, once per program and not once per file.
 * @throws Error when the versions are not 1, 2, 3, … in order.
 */
export function defineMigrations(list: readonly Migration[]): Migrations {
  const steps = list.map((step, index) => {
    if (step.version !== index + 1) {
      throw new Error(`Migration "${step.name}" must have version ${index + 1}, not ${step.version}.`);
    }
    return { ...step, hash: createHash('sha256').update(step.sql).digest('hex') };
  });
  return { latest: steps.length, steps };
}

/** The file is a SQLite database, but another program's. */
export class ForeignDatabaseError extends Error {
  override readonly name = 'ForeignDatabaseError';
}

/** The file was written by a later release than this one. */
export class NewerDatabaseError extends Error {
  override readonly name = 'NewerDatabaseError';
  readonly fileVersion: number;
  readonly programVersion: number;

  constructor(fileVersion: number, programVersion: number) {
    super(`The database has schema version ${fileVersion}; this program knows up to ${programVersion}.`);
    this.fileVersion = fileVersion;
    this.programVersion = programVersion;
  }
}

export const OLDER_DATABASE = 'OLDER_DATABASE';

/** The file was written by an earlier release, and has to be migrated before it can be used. */
export class OlderDatabaseError extends Error {
  override readonly name = 'OlderDatabaseError';
  /** By which it is known again when it comes from another process. */
  readonly code = OLDER_DATABASE;
}

/** The file was made by other migrations than the ones this program would build upon. */
export class MigrationHistoryError extends Error {
  override readonly name = 'MigrationHistoryError';
}

export interface MigrateOptions {
  /** The `application_id` that marks a file as ours. */
  applicationId: number;
  migrations: Migrations;
  /** Epoch milliseconds, for the record of what was applied when. */
  now: number;
}

/**
 * Brings a file to the latest schema. One that is there already costs two reads of its header and no write.
 * All pending steps are one transaction: a file is at the old version or at the new one, never between, so
 * that the release before can still open it after a failed upgrade.
 * @throws ForeignDatabaseError, NewerDatabaseError, MigrationHistoryError, or SQLite's own error; the file
 *   has not changed then.
 */
export function migrate(db: Database, options: MigrateOptions): { from: number; to: number } {
  const { latest } = options.migrations;
  const version = versionOf(db, options);
  if (version === latest) return { from: version, to: latest };
  if (db.inTransaction) throw new Error('A migration cannot run inside a transaction.');
  // With foreign keys on, dropping a parent table to rebuild it deletes the rows of its children. Inside a
  // transaction this pragma does nothing, hence out here.
  db.pragma('foreign_keys = OFF');
  try {
    // Immediate: another process that migrates the same file is waited for, and then seen by `versionOf`.
    return db.transaction(() => applyPending(db, options)).immediate();
  } finally {
    db.pragma('foreign_keys = ON');
  }
}

/** The file's schema version, after making sure that the file is ours to work on. */
function versionOf(db: Database, { applicationId, migrations }: MigrateOptions): number {
  const foundId = readNumber(db, 'PRAGMA application_id');
  const version = readNumber(db, 'PRAGMA user_version');
  if (foundId !== applicationId) {
    const isEmpty =
      foundId === 0 && version === 0 && readNumber(db, 'SELECT count(*) FROM sqlite_schema') === 0;
    if (!isEmpty)
      throw new ForeignDatabaseError(`The database is not one of ours (application id ${foundId}).`);
  }
  if (version > migrations.latest) throw new NewerDatabaseError(version, migrations.latest);
  return version;
}

function applyPending(db: Database, options: MigrateOptions): { from: number; to: number } {
  const { applicationId, migrations, now } = options;
  const from = versionOf(db, options);
  db.exec(
    `CREATE TABLE IF NOT EXISTS migrations (
       version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, applied_at INTEGER NOT NULL
     ) STRICT`,
  );
  compareHistory(db, migrations, from);

  const record = db.prepare('INSERT INTO migrations (version, name, hash, applied_at) VALUES (?, ?, ?, ?)');
  for (const step of migrations.steps.slice(from)) {
    db.exec(step.sql);
    if (!db.inTransaction) throw new Error(`Migration "${step.name}" ended the transaction it runs in.`);
    record.run(step.version, step.name, step.hash, now);
  }

  const broken = db.prepare<[], { table: string }>('PRAGMA foreign_key_check').get();
  if (broken) throw new Error(`The migration left rows in "${broken.table}" that refer to nothing.`);
  db.pragma(`application_id = ${applicationId}`);
  db.pragma(`user_version = ${migrations.latest}`);
  return { from, to: migrations.latest };
}

/** A step that was edited after it had been applied somewhere would give two kinds of files under one version. */
function compareHistory(db: Database, migrations: Migrations, from: number): void {
  const applied = db
    .prepare<[], { version: number; name: string; hash: string }>(
      'SELECT version, name, hash FROM migrations ORDER BY version',
    )
    .all();
  if (applied.length !== from) {
    throw new MigrationHistoryError(
      `The database is at version ${from} but records ${applied.length} migrations.`,
    );
  }
  for (const [index, row] of applied.entries()) {
    const step = migrations.steps[index];
    if (step?.version !== row.version || step.name !== row.name || step.hash !== row.hash) {
      throw new MigrationHistoryError(
        `Migration ${row.version} "${row.name}" is not the one that the database was made with.`,
      );
    }
  }
}

const readNumber = (db: Database, sql: string): number => Number(db.prepare(sql).pluck().get());
