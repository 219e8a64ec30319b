import { createHash } from 'node:crypto';
import { closeSync, copyFileSync, createReadStream, fsyncSync, openSync, readSync, statSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import Database from 'better-sqlite3';
import { systemClock } from '../clock.ts';
import type { CheckReport, FileReport, TenantName } from '../engine.ts';
import { createIds } from '../ids.ts';
import { closeDatabase, openDatabase } from './connection.ts';
import { createContext } from './handle.ts';
import { IMPORT_RULES } from './import-rules.ts';
import { InvalidDatabaseError, requireIntegrity, requireKnownSchema } from './known-schema.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import { type Migrations, migrate } from './migrator.ts';
import { createStore } from './store.ts';

// The long work on whole files. Runs in a child process (see `worker.ts`): niced, killable, off the event loop.

/** What every job knows: the migrations of the program that asked. */
interface JobBase {
  migrations: Migrations;
}

/**
 * Copies a tenant's file, as of one moment, into the new file `target`: compact, with open turns closed as aborted,
 * checked, and on the disk when this resolves. The source may be open and written to elsewhere.
 * @param as gives the copy to another tenant.
 */
export async function snapshot(
  job: JobBase & { source: string; target: string; as: TenantName | null },
): Promise<FileReport> {
  createPrivate(job.target);
  const source = openDatabase(job.source, { mustExist: true, synchronous: 'NORMAL' });
  try {
    source.prepare('VACUUM INTO ?').run(job.target);
  } finally {
    source.close();
  }
  return withSinglefile(job.target, (db) => {
    if (job.as) db.prepare('UPDATE tenant SET id = ?, name = ?').run(job.as.id, job.as.name);
    closeOpenTurns(db);
    requireKnownSchema(db, job.migrations);
    requireIntegrity(db);
  });
}

/**
 * Builds the new file `target` for `tenant` out of a file that nobody vouches for. The source is refused unless its
 * schema is ours to the letter; then every row is read, checked and written anew, so that nothing of the source's
 * pages is kept.
 * @param scratch a path for a private copy of the source, removed by the caller.
 * @throws InvalidDatabaseError with the reason
 */
export async function importFile(
  job: JobBase & {
    source: string;
    scratch: string;
    target: string;
    tenant: TenantName;
  },
): Promise<FileReport> {
  requireHeader(job.source);
  copyFileSync(job.source, job.scratch);
  const source = openForeign(job.scratch, job.migrations);
  try {
    createPrivate(job.target);
    return await withSinglefile(job.target, (db) => {
      const now = systemClock.now();
      migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations: job.migrations, now });
      db.prepare('INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)').run(
        job.tenant.id,
        job.tenant.name,
        now,
      );
      copyRows(source, db);
      closeOpenTurns(db);
      requireIntegrity(db);
    });
  } finally {
    source.close();
  }
}

/** Looks at a file without changing it. */
export async function check(job: JobBase & { source: string }): Promise<CheckReport> {
  const report: CheckReport = {
    tenant: null,
    schemaVersion: null,
    sizeBytes: statSync(job.source).size,
    problem: null,
  };
  let db: Database.Database | undefined;
  try {
    db = new Database(job.source, { readonly: true, fileMustExist: true, timeout: 1000 });
    report.schemaVersion = Number(db.pragma('user_version', { simple: true }));
    requireKnownSchema(db, job.migrations);
    report.tenant = db.prepare<[], TenantName>('SELECT id, name FROM tenant').get() ?? null;
    requireIntegrity(db);
  } catch (error) {
    report.problem = error instanceof Error ? error.message : String(error);
  } finally {
    db?.close();
  }
  return report;
}

/** Brings a file that no server has open to the latest schema. */
export async function migrateFile(job: JobBase & { source: string }): Promise<{ from: number; to: number }> {
  const db = openDatabase(job.source, { mustExist: true, synchronous: 'FULL' });
  try {
    if (db.pragma('user_version', { simple: true }) === 0)
      throw new InvalidDatabaseError('It has no schema version.');
    return migrate(db, {
      applicationId: TENANT_APPLICATION_ID,
      migrations: job.migrations,
      now: systemClock.now(),
    });
  } finally {
    closeDatabase(db);
  }
}

/** Works on a file that is nobody's yet, without a journal beside it afterwards, and reports on it. */
async function withSinglefile(path: string, work: (db: Database.Database) => void): Promise<FileReport> {
  const db = new Database(path, { fileMustExist: true });
  let facts: Pick<FileReport, 'schemaVersion' | 'rows'>;
  try {
    // Nobody needs the file before it is whole: a crash leaves it under its temporary name.
    db.pragma('journal_mode = MEMORY');
    db.pragma('synchronous = OFF');
    db.pragma('foreign_keys = ON');
    db.pragma('trusted_schema = OFF');
    work(db);
    facts = { schemaVersion: Number(db.pragma('user_version', { simple: true })), rows: countRows(db) };
  } finally {
    db.close();
  }
  // Closed and nobody's: the one moment at which it may be opened without SQLite.
  const file = openSync(path, 'r+');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return { ...facts, sizeBytes: statSync(path).size, sha256: await hashFile(path) };
}

const hashFile = async (path: string): Promise<string> => {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
};

/** An empty file for its owner only; SQLite takes it for a new database. */
const createPrivate = (path: string): void => closeSync(openSync(path, 'wx', 0o600));

const closeOpenTurns = (db: Database.Database): void =>
  createStore(
    createContext(db, { clock: systemClock, ids: createIds(systemClock), runId: 'copy' }),
  ).closeDeadTurns();

const countRows = (db: Database.Database): Record<string, number> =>
  Object.fromEntries(
    Object.keys(IMPORT_RULES).map((table) => [
      table,
      Number(db.prepare(`SELECT count(*) FROM ${table}`).pluck().get()),
    ]),
  );

const HEADER = 'SQLite format 3\0';

function requireHeader(path: string): void {
  const header = Buffer.alloc(HEADER.length);
  const file = openSync(path, 'r');
  try {
    readSync(file, header, 0, header.length, 0);
  } finally {
    closeSync(file);
  }
  if (header.toString('latin1') !== HEADER) {
    throw new InvalidDatabaseError('It is not a SQLite database, or it is encrypted.');
  }
}

/** Opens a private copy of a hostile file, after its schema was found to be ours; an older one is migrated. */
function openForeign(path: string, migrations: Migrations): Database.Database {
  const db = new Database(path, { fileMustExist: true });
  try {
    db.pragma('trusted_schema = OFF');
    db.pragma('cell_size_check = ON');
    db.pragma('mmap_size = 0');
    const version = requireKnownSchema(db, migrations);
    requireIntegrity(db);
    if (version < migrations.latest) {
      migrate(db, {
        applicationId: TENANT_APPLICATION_ID,
        migrations,
        now: systemClock.now(),
      });
    }
    return db;
  } catch (error) {
    db.close();
    throw toInvalid(error);
  }
}

/** What SQLite says of a damaged file is a reason to refuse it. */
function toInvalid(error: unknown): unknown {
  if (error instanceof Database.SqliteError) {
    return new InvalidDatabaseError(`SQLite cannot read it: ${error.message}.`);
  }
  return error;
}

function copyRows(source: Database.Database, target: Database.Database): void {
  try {
    target.transaction(() => {
      for (const [table, rules] of Object.entries(IMPORT_RULES)) copyTable(source, target, table, rules);
      rebuildDerived(target);
    })();
  } catch (error) {
    throw toInvalid(error);
  }
}

function copyTable(
  source: Database.Database,
  target: Database.Database,
  table: string,
  rules: (typeof IMPORT_RULES)[string],
): void {
  const columns = Object.keys(rules);
  const insert = target.prepare(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  );
  const rows = source.prepare<[], Record<string, unknown>>(`SELECT ${columns.join(', ')} FROM ${table}`);
  for (const row of rows.iterate()) {
    for (const [column, rule] of Object.entries(rules)) {
      const fault = rule(row[column]);
      if (fault !== null) throw new InvalidDatabaseError(`A value in ${table}.${column} ${fault}.`);
    }
    insert.run(columns.map((column) => row[column]));
  }
}

/** What follows from other rows is worked out, never believed: bounds and numbering depend on it. */
function rebuildDerived(db: Database.Database): void {
  db.exec(`
    UPDATE conversations SET
      message_count = (SELECT coalesce(max(seq), 0) FROM messages WHERE conversation_id = conversations.id),
      history_bytes = (
        SELECT coalesce(sum(
          coalesce(octet_length(content), 0) + coalesce(octet_length(tool_calls), 0) + coalesce(octet_length(provider_data), 0)
        ), 0) FROM messages WHERE conversation_id = conversations.id
      ),
      awaiting_tools = coalesce((
        SELECT role = 'assistant' AND tool_calls IS NOT NULL FROM messages
        WHERE conversation_id = conversations.id ORDER BY seq DESC LIMIT 1
      ), 0);
  `);
  const gap = db
    .prepare(
      `SELECT 1 FROM conversations WHERE message_count <> (
         SELECT count(*) FROM messages WHERE conversation_id = conversations.id AND seq > 0
       ) LIMIT 1`,
    )
    .get();
  if (gap) throw new InvalidDatabaseError('The messages of a conversation are not numbered 1, 2, 3, ….');
  const headless = db
    .prepare(
      `SELECT 1 FROM configs LEFT JOIN config_versions
         ON config_id = configs.id AND config_versions.version = configs.version
       WHERE config_id IS NULL OR config_versions.name <> configs.name LIMIT 1`,
    )
    .get();
  if (headless) throw new InvalidDatabaseError('A config has no latest version.');
}
