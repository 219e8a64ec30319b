import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, lstatSync, openSync, readFileSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { systemClock } from '../clock.ts';
import type { FileReport } from '../engine.ts';
import { createIds } from '../ids.ts';
import { sha256Of } from '../pieces.ts';
import { createContext } from './handle.ts';
import { IMPORT_RULES } from './import-rules.ts';
import { InvalidDatabaseError } from './known-schema.ts';
import { requireParent } from './require-parent.ts';
import { createStore } from './store.ts';

// What the jobs of a child process share that make a new file.

/** Works on a file that is nobody's yet, without a journal beside it afterwards; what was done is on the disk then. */
export function inSingleFile<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path, { fileMustExist: true });
  let result: T;
  try {
    // Nobody needs the file before it is whole: a crash leaves it under its temporary name.
    db.pragma('journal_mode = MEMORY');
    db.pragma('synchronous = OFF');
    // The name of the tenant that a clone was made of must not stay behind in an unused corner of a page.
    db.pragma('secure_delete = ON');
    db.pragma('foreign_keys = ON');
    db.pragma('trusted_schema = OFF');
    // No row of a tenant goes into a file in the system's folder for such.
    db.pragma('temp_store = MEMORY');
    result = work(db);
  } finally {
    db.close();
  }
  // Closed, so that SQLite has no locks on it to lose.
  const file = openSync(path, 'r+');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return result;
}

/** As `inSingleFile`, and reports on the file. */
export async function withSingleFile(
  path: string,
  work: (db: Database.Database) => void,
): Promise<FileReport> {
  const facts = inSingleFile(path, (db) => {
    work(db);
    return { schemaVersion: Number(db.pragma('user_version', { simple: true })), rows: countRows(db) };
  });
  return { ...facts, sizeBytes: statSync(path).size, sha256: await hashFile(path) };
}

/** Up to here a file is read in one piece: most tenants' are small, and pieces cost half a millisecond. */
const IN_ONE_PIECE_BYTES = 1024 * 1024;

/** The SHA-256 of a file that nobody has open, in hexadecimal. */
export const hashFile = async (path: string): Promise<string> => {
  if (statSync(path).size > IN_ONE_PIECE_BYTES) return sha256Of(path);
  return createHash('sha256').update(readFileSync(path)).digest('hex');
};

/** An empty file for its owner only; SQLite takes it for a new database. */
export const createPrivate = (path: string): void => {
  requireParent();
  closeSync(openSync(path, 'wx', 0o600));
};

/** SQLite follows links, and waits for pipes; a file of ours is neither. @throws InvalidDatabaseError */
export function requireRegularFile(path: string): void {
  if (!lstatSync(path).isFile()) throw new InvalidDatabaseError('It is not a regular file.');
}

/** In a copy, nobody works at any turn. */
export function closeOpenTurns(db: Database.Database): void {
  // Most copies have none, and a store prepares the statements of every verb.
  if (db.prepare('SELECT 1 FROM open_turns LIMIT 1').get() === undefined) return;
  const ids = createIds(systemClock);
  // A run that no file names: a turn of a known one could stay open.
  createStore(createContext(db, { clock: systemClock, ids, runId: ids() })).closeDeadTurns();
}

/** Of the tables that make up a tenant's data; a file of an older schema has not all of them. */
const countRows = (db: Database.Database): Record<string, number> => {
  const isThere = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?");
  return Object.fromEntries(
    Object.keys(IMPORT_RULES)
      .filter((table) => isThere.get(table) !== undefined)
      .map((table) => [table, Number(db.prepare(`SELECT count(*) FROM ${table}`).pluck().get())]),
  );
};
