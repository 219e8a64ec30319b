import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';

/** The files below a folder in which a text stands, as bytes. The server must have no tenant file open. */
export const filesWith = (folder: string, text: string): string[] =>
  filesIn(folder).filter((name) => readFileSync(join(folder, name)).includes(text));

/** Every file below a folder, by its path in there. */
export const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

/** Looks into a database that came over the wire. */
export function inDatabase<T>(bytes: Uint8Array, look: (db: Database.Database) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'nimblesite-file-'));
  try {
    writeFileSync(join(folder, 'file.db'), bytes);
    const db = new Database(join(folder, 'file.db'));
    try {
      return look(db);
    } finally {
      db.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A database, changed by SQL. */
export function changed(bytes: Uint8Array, sql: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'nimblesite-file-'));
  try {
    const path = join(folder, 'file.db');
    writeFileSync(path, bytes);
    const db = new Database(path);
    db.exec(sql);
    db.close();
    return readFileSync(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
