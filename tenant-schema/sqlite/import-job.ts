import { isUtf8 } from 'node:buffer';
import { appendFileSync, closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { systemClock } from '../clock.ts';
import type { FileReport, TenantName } from '../engine.ts';
import { isId } from '../ids.ts';
import { VALUE_BYTES_MAX } from '../json.ts';
import { clearCounters } from './counters.ts';
import { type DiskPace, openDiskPace } from './disk-pace.ts';
import { IMPORT_RULES, OWN_RULES, type Rule } from './import-rules.ts';
import { InvalidDatabaseError, requireIntegrity, requireKnownSchema, requireOwner } from './known-schema.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import { MigrationHistoryError, type Migrations, migrate } from './migrator.ts';
import { requireParent } from './require-parent.ts';
import { closeOpenTurns, createPrivate, requireRegularFile, withSingleFile } from './single-file.ts';
import { ToolCallOrder } from './tool-call-order.ts';

/**
 * Builds the new file `target` for `tenant` out of a file that nobody vouches for. The source is refused unless its
 * schema is ours to the letter; then every row is read, checked and written anew, so that nothing of the source's
 * pages is kept.
 * @param job.isOwn whether the file must be the tenant's own: then it brings what was used of the limits and what
 *   requests that come again are answered. Another tenant's says nothing about this one.
 * @param job.scratch a path for a private copy of the source, removed by the caller.
 * @throws InvalidDatabaseError with the reason
 */
export async function importFile(job: {
  source: string;
  scratch: string;
  target: string;
  tenant: TenantName;
  migrations: Migrations;
  isOwn: boolean;
}): Promise<FileReport> {
  const { tenant, migrations } = job;
  const tables = { ...IMPORT_RULES, ...(job.isOwn ? OWN_RULES : {}) };
  requireWholeFile(job.source);
  createPrivate(job.scratch);
  copyBytes(job.source, job.scratch);
  const source = openForeign(job.scratch, migrations);
  try {
    if (job.isOwn) requireOwner(source, tenant.id);
    createPrivate(job.target);
    return await withSingleFile(job.target, (db) => {
      const now = systemClock.now();
      // Before anything else is written: afterwards SQLite does not hear of it any more.
      db.pragma('auto_vacuum = INCREMENTAL');
      // What lies in memory until the end would come to the disk all at once.
      db.pragma('cache_size = -2000');
      migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now });
      db.prepare('INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)').run(
        tenant.id,
        tenant.name,
        now,
      );
      blamingTheFile(() => {
        db.transaction(() => {
          withPace(job.target, (pace) => {
            for (const [table, rules] of Object.entries(tables)) copyTable(source, db, table, rules, pace);
          });
          rebuildDerived(db);
        })();
        closeOpenTurns(db);
        if (!job.isOwn) clearCounters(db);
      });
      requireIntegrity(db);
    });
  } finally {
    source.close();
  }
}

/** Rows are checked for longer than they are written: most of the time the disk is left to others as it is. */
const REST_TIMES = 0.25;
const COPIED_AT_ONCE_BYTES = 256 * 1024;

function withPace(path: string, work: (pace: DiskPace) => void): void {
  const pace = openDiskPace(path, REST_TIMES);
  try {
    work(pace);
  } finally {
    pace.close();
  }
}

/** Copies what a file holds into an empty one. */
function copyBytes(from: string, to: string): void {
  const memory = Buffer.allocUnsafe(COPIED_AT_ONCE_BYTES);
  const source = openSync(from, 'r');
  try {
    withPace(to, (pace) => {
      for (let bytes = readSync(source, memory); bytes > 0; bytes = readSync(source, memory)) {
        appendFileSync(to, memory.subarray(0, bytes));
        pace.wrote(bytes);
      }
    });
  } finally {
    closeSync(source);
  }
}

const HEADER = 'SQLite format 3\0';

/** A regular file that begins as a SQLite database does, with no part of it in another file. */
function requireWholeFile(path: string): void {
  const header = Buffer.alloc(HEADER.length);
  requireRegularFile(path);
  const file = openSync(path, 'r');
  try {
    readSync(file, header, 0, header.length, 0);
  } finally {
    closeSync(file);
  }
  if (header.toString('latin1') !== HEADER) {
    throw new InvalidDatabaseError('It is not a SQLite database, or it is encrypted.');
  }
  for (const suffix of ['-wal', '-journal']) {
    if (existsSync(path + suffix) && statSync(path + suffix).size > 0) {
      throw new InvalidDatabaseError(
        `It was in use: a part of it is in the "${suffix}" beside it. Copy it when it is closed.`,
      );
    }
  }
}

/** Opens a private copy of a hostile file, after its schema was found to be ours; an older one is migrated. */
function openForeign(path: string, migrations: Migrations): Database.Database {
  const db = new Database(path, { fileMustExist: true });
  try {
    return blamingTheFile(() => {
      db.pragma('trusted_schema = OFF');
      db.pragma('cell_size_check = ON');
      db.pragma('mmap_size = 0');
      // No row of a tenant goes into a file in the system's folder for such.
      db.pragma('temp_store = MEMORY');
      const version = requireKnownSchema(db, migrations);
      if (db.pragma('encoding', { simple: true }) !== 'UTF-8') {
        throw new InvalidDatabaseError('Its text is not in UTF-8.');
      }
      requireIntegrity(db);
      requireOneTenant(db, version);
      migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now: systemClock.now() });
      db.pragma('query_only = ON');
      return db;
    });
  } catch (error) {
    db.close();
    throw error;
  }
}

/** The two tables that are not copied: looked at all the same, since such a file was not made by us. */
function requireOneTenant(db: Database.Database, version: number): void {
  const sizes = db.prepare<[], { count: number; bytes: number }>(
    `SELECT count(*) AS count, max(octet_length(id) + octet_length(name)) AS bytes FROM tenant`,
  );
  const { count, bytes } = sizes.get() ?? { count: 0, bytes: 0 };
  if (count !== 1) throw new InvalidDatabaseError(`It names ${count} tenants instead of one.`);
  const id = bytes < 10_000 ? db.prepare('SELECT id FROM tenant').pluck().get() : null;
  if (typeof id !== 'string' || !isId(id)) throw new InvalidDatabaseError('Its tenant has no valid id.');
  const history = db.prepare<[], { count: number; bytes: number | null }>(
    'SELECT count(*) AS count, max(octet_length(name) + octet_length(hash)) AS bytes FROM migrations',
  );
  const found = history.get();
  if (found?.count !== version || (found.bytes ?? 0) > 10_000) {
    throw new InvalidDatabaseError('Its history of migrations is not the one of its schema version.');
  }
}

/** What the machine is to blame for, whatever is in the file. */
const NOT_THE_FILE = /^SQLITE_(FULL|NOMEM|CANTOPEN|BUSY|PERM|READONLY|IOERR_(WRITE|FSYNC|ACCESS|LOCK|NOMEM))/;

/** What SQLite says of a damaged file is a reason to refuse it. */
function blamingTheFile<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Database.SqliteError && !NOT_THE_FILE.test(error.code)) {
      throw new InvalidDatabaseError(`SQLite cannot read it: ${error.message}.`);
    }
    if (error instanceof MigrationHistoryError) throw new InvalidDatabaseError(error.message);
    throw error;
  }
}

/** So many rows go by between two looks at whether anybody still waits for them. */
const ROWS_PER_LOOK = 4096;

function copyTable(
  source: Database.Database,
  target: Database.Database,
  table: string,
  rules: Record<string, Rule>,
  pace: DiskPace,
): void {
  const columns = Object.keys(rules);
  requireBounded(source, table, columns);
  const types = new Map(
    target
      .prepare<[string], { name: string; type: string }>('SELECT name, type FROM pragma_table_info(?)')
      .all(table)
      .map(({ name, type }) => [name, type]),
  );
  // As bytes: text that is not UTF-8 would be mended on its way to a string, and so changed without a word.
  const selected = columns.map((name) => (types.get(name) === 'TEXT' ? `CAST(${name} AS BLOB)` : name));
  const order = table === 'messages' ? new ToolCallOrder() : null;
  const from = order ? 'messages ORDER BY conversation_id, seq' : table;
  const rows = source.prepare<[], unknown[]>(`SELECT ${selected.join(', ')} FROM ${from}`).raw();
  const insert = target.prepare(
    `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  );
  let copied = 0;
  for (const raw of rows.iterate()) {
    const row: Record<string, unknown> = {};
    for (const [index, column] of columns.entries()) {
      const value = decode(raw[index]);
      const fault = value === undefined ? 'is not valid text' : (rules[column]?.(value) ?? null);
      if (fault !== null) throw new InvalidDatabaseError(`A value in ${table}.${column} ${fault}.`);
      row[column] = value;
    }
    const fault = order?.add(row) ?? null;
    if (fault !== null) throw new InvalidDatabaseError(fault);
    insert.run(Object.values(row));
    pace.wrote(raw.reduce<number>((sum, value) => sum + (Buffer.isBuffer(value) ? value.length : 8), 0));
    copied += 1;
    if (copied % ROWS_PER_LOOK === 0) requireParent();
  }
  const fault = order?.end() ?? null;
  if (fault !== null) throw new InvalidDatabaseError(fault);
}

/** Sizes come first: SQLite knows them without reading the values. */
function requireBounded(db: Database.Database, table: string, columns: string[]): void {
  for (const column of columns) {
    const tooLong = db.prepare(`SELECT 1 FROM ${table} WHERE octet_length(${column}) > ? LIMIT 1`);
    if (tooLong.get(VALUE_BYTES_MAX))
      throw new InvalidDatabaseError(`A value in ${table}.${column} is too long.`);
  }
}

/** Undefined for bytes that are not UTF-8. */
function decode(value: unknown): unknown {
  if (!Buffer.isBuffer(value)) return value;
  return isUtf8(value) ? value.toString('utf8') : undefined;
}

/** What follows from other rows is worked out, never believed: bounds and numbering depend on it. */
function rebuildDerived(db: Database.Database): void {
  rebuildUsage(db);
  db.exec(`
    DELETE FROM turn_contents WHERE turn_id NOT IN (SELECT id FROM turns);
    -- Nobody works at their turns.
    DELETE FROM idempotency WHERE answer IS NULL;
    UPDATE spend SET reserved_micro_usd = 0;
  `);
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
  // Rows are unique by their number, which counts from 1: as many as the highest of them leave no gap.
  const gap = db
    .prepare(
      `SELECT 1 FROM conversations WHERE message_count <> (
         SELECT count(*) FROM messages WHERE conversation_id = conversations.id
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
  // The next change of a config makes the version after its latest, and would meet one that is there.
  const unordered = db
    .prepare(
      `SELECT 1 FROM configs JOIN (
         SELECT config_id, count(*) AS count, max(version) AS latest FROM config_versions GROUP BY config_id
       ) ON config_id = configs.id
       WHERE count <> configs.version OR latest <> configs.version LIMIT 1`,
    )
    .get();
  if (unordered) throw new InvalidDatabaseError('The versions of a config are not numbered 1, 2, 3, ….');
}

/**
 * Log rows are removed from the oldest on, so that of all days after the one of the oldest row that is left, every row
 * is there: their usage is worked out. Of that day and of those before it rows may be gone, and the file is believed, but
 * no less than what its rows come to.
 */
function rebuildUsage(db: Database.Database): void {
  const day = `strftime('%Y-%m-%d', created_at / 1000, 'unixepoch')`;
  const figures = Object.keys(IMPORT_RULES.usage_days ?? {}).filter(
    (name) => !['day', 'config_id', 'model'].includes(name),
  );
  db.exec(`
    DELETE FROM usage_days WHERE day > (SELECT min(${day}) FROM turns);
    INSERT INTO usage_days
      SELECT ${day}, config_id, model, count(*), count(*) FILTER (WHERE status = 'error'), sum(input_tokens),
             sum(output_tokens), sum(cached_input_tokens), sum(cache_write_input_tokens), sum(reasoning_tokens),
             coalesce(sum(cost_micro_usd), 0), count(*) FILTER (WHERE cost_micro_usd IS NULL)
        FROM turns WHERE true GROUP BY 1, 2, 3
      ON CONFLICT DO UPDATE SET ${figures.map((name) => `${name} = max(${name}, excluded.${name})`).join(', ')};
  `);
}
