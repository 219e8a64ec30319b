import Database from 'better-sqlite3';
import { type DiskPace, openDiskPace, STEP_BYTES } from './disk-pace.ts';
import { InvalidDatabaseError } from './known-schema.ts';

/** The copy takes three times as long as `VACUUM INTO`, which knows no pace, and is hardly felt. */
const REST_TIMES = 4;
/** Rows of a step; how many make one is learnt from the step before. */
const ROWS_MAX = 50_000;

/**
 * Copies what the file `source` holds at one moment into the empty file `target`, compact, a step at a time. Nothing
 * is told of what SQLite keeps for itself, such as statistics. Stops the event loop: only for a process of its own.
 * @param source a file whose schema was found to be ours: its own words are run
 */
export function copyPaced(source: string, target: string): void {
  const db = new Database(target, { fileMustExist: true });
  const pace = openDiskPace(target, REST_TIMES);
  try {
    db.pragma('auto_vacuum = INCREMENTAL');
    // Nobody knows the file before it is whole, so nothing of it need be undone.
    db.pragma('journal_mode = OFF');
    db.pragma('synchronous = OFF');
    db.pragma('foreign_keys = OFF');
    db.pragma('trusted_schema = OFF');
    db.pragma('cache_size = -2000');
    db.pragma('temp_store = MEMORY');
    db.prepare('ATTACH ? AS source').run(source);
    // One transaction: what is read is as of its first look.
    db.exec('BEGIN');
    const tables = copySchema(db);
    for (const table of tables) copyRows(db, table, pace);
    for (const { name } of tables) requireAll(db, name);
    for (const name of ['application_id', 'user_version']) {
      db.pragma(`main.${name} = ${Number(db.pragma(`source.${name}`, { simple: true }))}`);
    }
    db.exec('COMMIT');
  } finally {
    pace.close();
    db.close();
  }
}

interface Table {
  name: string;
  /** The columns by which its rows lie in order. */
  key: string[];
}

/** Makes the tables and indexes of the source in the target, word for word; the tables. */
function copySchema(db: Database.Database): Table[] {
  const statements = db
    .prepare<[], { type: string; name: string; sql: string }>(
      `SELECT type, name, sql FROM source.sqlite_schema
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid`,
    )
    .all();
  for (const { sql } of statements) db.exec(sql);
  return statements
    .filter(({ type }) => type === 'table')
    .map(({ name }) => ({ name, key: keyOf(db, name) }));
}

function keyOf(db: Database.Database, table: string): string[] {
  const isClustered = db
    .prepare("SELECT wr FROM pragma_table_list WHERE schema = 'source' AND name = ?")
    .pluck()
    .get(table);
  if (isClustered !== 1) return ['rowid'];
  return db
    .prepare<[string], string>("SELECT name FROM pragma_table_info(?, 'source') WHERE pk > 0 ORDER BY pk")
    .pluck()
    .all(table);
}

function copyRows(db: Database.Database, { name, key }: Table, pace: DiskPace): void {
  const columns = key.map((column) => `"${column}"`).join(', ');
  const values = key.map(() => '?').join(', ');
  const from = `FROM source."${name}"`;
  const last = db
    .prepare(
      `SELECT ${columns} ${from} WHERE (${columns}) > (${values}) ORDER BY ${columns} LIMIT 1 OFFSET ?`,
    )
    .raw();
  const first = db.prepare(`SELECT ${columns} ${from} ORDER BY ${columns} LIMIT 1`).raw();
  const insert = db.prepare(
    `INSERT INTO main."${name}" SELECT * ${from}
       WHERE (${columns}) >= (${values}) AND (${columns}) <= (${values}) ORDER BY ${columns}`,
  );
  const insertRest = db.prepare(
    `INSERT INTO main."${name}" SELECT * ${from} WHERE (${columns}) >= (${values}) ORDER BY ${columns}`,
  );
  const next = db
    .prepare(`SELECT ${columns} ${from} WHERE (${columns}) > (${values}) ORDER BY ${columns} LIMIT 1`)
    .raw();

  let begin = first.get() as unknown[] | undefined;
  let rows = 1;
  while (begin) {
    const sizeBefore = sizeOf(db);
    const end = last.get(...begin, rows - 1) as unknown[] | undefined;
    if (end) insert.run(...begin, ...end);
    else insertRest.run(...begin);
    const bytes = sizeOf(db) - sizeBefore;
    pace.rest();
    rows = Math.max(1, Math.min(ROWS_MAX, Math.round((rows * STEP_BYTES) / Math.max(bytes, 4096))));
    begin = end && (next.get(...end) as unknown[] | undefined);
  }
}

/** Rows that do not lie in the order of their keys would be passed over, and the copy would be sound all the same. */
function requireAll(db: Database.Database, table: string): void {
  const count = (schema: string) => db.prepare(`SELECT count(*) FROM ${schema}."${table}"`).pluck().get();
  if (count('main') !== count('source')) throw new InvalidDatabaseError(`Its table "${table}" is damaged.`);
}

const sizeOf = (db: Database.Database): number =>
  Number(db.pragma('main.page_count', { simple: true })) *
  Number(db.pragma('main.page_size', { simple: true }));
