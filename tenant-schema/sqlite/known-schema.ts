import Database from 'better-sqlite3';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import {
  ForeignDatabaseError,
  type Migrations,
  migrate,
  NewerDatabaseError,
  OlderDatabaseError,
} from './migrator.ts';

/** A file that is refused, with the reason for whoever sent it. */
export class InvalidDatabaseError extends Error {
  override readonly name = 'InvalidDatabaseError';
}

/**
 * Refuses a file that is not a tenant's, or from a later release. An empty one is refused as well: it would pass for
 * a new one and be filled with empty tables over the data that are lost.
 */
export function requireOurs(db: Database.Database, { latest }: Migrations): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (db.pragma('application_id', { simple: true }) !== TENANT_APPLICATION_ID || version < 1) {
    throw new ForeignDatabaseError('The file is not a tenant database of ours.');
  }
  if (version > latest) throw new NewerDatabaseError(version, latest);
}

/** Of a file of ours. @throws OlderDatabaseError */
export function requireLatest(db: Database.Database, { latest }: Migrations): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version < latest)
    throw new OlderDatabaseError(`The file is at schema version ${version} of ${latest}.`);
}

/** Refuses a file that is not this tenant's. @throws InvalidDatabaseError */
export function requireOwner(db: Database.Database, owner: string): void {
  const found = db.prepare('SELECT id FROM tenant').pluck().get();
  if (found !== owner) throw new InvalidDatabaseError(`It belongs to tenant ${String(found)}.`);
}

export interface SchemaRow {
  type: string;
  name: string;
  sql: string | null;
}

/** No text of ours in `sqlite_schema` has as many bytes; a longer one is not even read. */
const TEXT_BYTES_MAX = 10_000;
const bounded = (column: string): string =>
  `iif(octet_length(${column}) > ${TEXT_BYTES_MAX}, substr(${column}, 1, 100), ${column}) AS ${column}`;

/** Row by row: a hostile file may have any number of them. */
const readSchema = (db: Database.Database): IterableIterator<SchemaRow> =>
  db
    .prepare<[], SchemaRow>(`SELECT ${['type', 'name', 'sql'].map(bounded).join(', ')} FROM sqlite_schema`)
    .iterate();

/** What files of ours hold in `sqlite_schema`, by the steps that made them. Kept by who looks at many files. */
export type SchemaCache = Map<string, readonly SchemaRow[]>;

/** What `sqlite_schema` holds in a file of ours at this version, word for word: our migrations, run. */
function schemaAt(version: number, migrations: Migrations, cache: SchemaCache): readonly SchemaRow[] {
  const steps = migrations.steps.slice(0, version);
  const key = steps.map(({ hash }) => hash).join();
  const known = cache.get(key);
  if (known) return known;
  const db = new Database(':memory:');
  try {
    migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations: { latest: version, steps }, now: 0 });
    const rows = [...readSchema(db)];
    cache.set(key, rows);
    return rows;
  } finally {
    db.close();
  }
}

/** What ANALYZE makes for SQLite's planner; harmless in a file of ours, and to be had anew at any time. */
const STATISTICS = /^sqlite_stat[1-4]$/;

/** Takes out what somebody's ANALYZE has put into a file of ours. */
export function dropStatistics(db: Database.Database): void {
  const names = [...readSchema(db)].filter(({ type, name }) => type === 'table' && STATISTICS.test(name));
  for (const { name } of names) db.exec(`DROP TABLE ${name}`);
}

/**
 * Makes sure that a file is a tenant database of ours and has our tables and indexes and nothing else: no trigger,
 * view, virtual table, generated column, or anything under another name. Reads the schema only, as data.
 * @param options.statistics `allowed` passes over what ANALYZE makes
 * @param options.schemas what was worked out before
 * @returns the file's schema version
 * @throws InvalidDatabaseError
 */
export function requireKnownSchema(
  db: Database.Database,
  migrations: Migrations,
  {
    statistics = 'refused',
    schemas = new Map(),
  }: { statistics?: 'allowed' | 'refused'; schemas?: SchemaCache } = {},
): number {
  const applicationId = db.pragma('application_id', { simple: true });
  if (applicationId !== TENANT_APPLICATION_ID) {
    throw new InvalidDatabaseError('It is a SQLite database, but not a tenant of this program.');
  }
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version > migrations.latest) {
    throw new InvalidDatabaseError(
      `It has schema version ${version}; this server knows versions up to ${migrations.latest}.`,
    );
  }
  if (version < 1) throw new InvalidDatabaseError('It has no schema version.');
  const expected = new Map(
    schemaAt(version, migrations, schemas).map((row) => [`${row.type} ${row.name}`, row.sql]),
  );
  for (const { type, name, sql } of readSchema(db)) {
    if (statistics === 'allowed' && type === 'table' && STATISTICS.test(name)) continue;
    const key = `${type} ${name}`;
    if (!expected.has(key))
      throw new InvalidDatabaseError(
        `It has ${type === 'index' ? 'an' : 'a'} ${type} that does not belong there: ${quote(name)}.`,
      );
    if (expected.get(key) !== sql)
      throw new InvalidDatabaseError(`Its ${type} ${quote(name)} is not as it should be.`);
    expected.delete(key);
  }
  const [missing] = expected.keys();
  if (missing !== undefined) throw new InvalidDatabaseError(`It has no ${missing}.`);
  return version;
}

/** Asks SQLite whether every page, row, index entry and reference is sound. @throws InvalidDatabaseError */
export function requireIntegrity(db: Database.Database): void {
  const found = db.pragma('integrity_check(1)', { simple: true });
  if (found !== 'ok') throw new InvalidDatabaseError(`It is damaged: ${quote(String(found))}.`);
  const broken = db.prepare<[], { table: string }>('PRAGMA foreign_key_check').get();
  if (broken) throw new InvalidDatabaseError(`Rows in ${quote(broken.table)} refer to nothing.`);
}

/** Text out of a file that nobody vouches for: one short line. */
const quote = (text: string): string => JSON.stringify(text.slice(0, 100));
