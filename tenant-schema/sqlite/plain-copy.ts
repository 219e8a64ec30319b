import { closeSync, fsyncSync, openSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { FileReport } from '../engine.ts';
import { InvalidDatabaseError } from './known-schema.ts';
import { createPrivate, hashFile } from './single-file.ts';

/** A statement to be run on a copy. */
export interface CopyChange {
  sql: string;
  parameter: string;
  /** Not run on a copy whose schema version is lower. */
  since: number;
}

/**
 * Copies a database of whatever schema, as of one moment, into the new file `target`: compact, without a `-wal`,
 * checked, and on the disk when this resolves. The source may be open and written to elsewhere.
 * @param changes what is done to the copy; what it removes is overwritten.
 */
export async function plainCopy(job: {
  source: string;
  target: string;
  changes: CopyChange[];
}): Promise<FileReport> {
  createPrivate(job.target);
  const source = new Database(job.source, { fileMustExist: true, timeout: 1000 });
  try {
    source.pragma('trusted_schema = OFF');
    source.prepare('VACUUM INTO ?').run(job.target);
  } finally {
    source.close();
  }
  const { schemaVersion, rows } = finish(job.target, job.changes);
  const file = openSync(job.target, 'r+');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return {
    schemaVersion,
    rows,
    sizeBytes: statSync(job.target).size,
    sha256: await hashFile(job.target),
  };
}

function finish(path: string, changes: CopyChange[]): Pick<FileReport, 'schemaVersion' | 'rows'> {
  const db = new Database(path, { fileMustExist: true });
  try {
    db.pragma('journal_mode = MEMORY');
    db.pragma('secure_delete = ON');
    // Nothing of it goes into a file in the system's folder for such.
    db.pragma('temp_store = MEMORY');
    const schemaVersion = Number(db.pragma('user_version', { simple: true }));
    db.transaction(() => {
      for (const { sql, parameter, since } of changes) {
        if (schemaVersion >= since) db.prepare(sql).run(parameter);
      }
    })();
    // Pages that were split keep the bytes of rows that have moved.
    if (changes.length > 0) db.exec('VACUUM');
    const found = db.pragma('integrity_check(1)', { simple: true });
    if (found !== 'ok')
      throw new InvalidDatabaseError(`The copy is damaged: ${String(found).slice(0, 100)}.`);
    const tables = db
      .prepare<[], string>(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
      )
      .pluck()
      .all();
    return {
      schemaVersion,
      rows: Object.fromEntries(
        tables.map((name) => [name, Number(db.prepare(`SELECT count(*) FROM "${name}"`).pluck().get())]),
      ),
    };
  } finally {
    db.close();
  }
}
