import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';

/**
 * The SHA-256, as hexadecimal, of every row of a database that nobody writes to, whatever its file looks like: two
 * copies have the same where they hold the same.
 * @param job.except by table, which of its rows do not count, as an SQL condition
 */
export async function contentDigest(job: {
  source: string;
  except: Record<string, string>;
}): Promise<string> {
  const db = new Database(job.source, { readonly: true, fileMustExist: true });
  try {
    const tables = db
      .prepare<[], string>(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
      )
      .pluck()
      .all();
    const hash = createHash('sha256');
    for (const table of tables) {
      hash.update(`${table}\n`);
      const except = job.except[table];
      const rows = db
        .prepare(`SELECT * FROM "${table}"${except === undefined ? '' : ` WHERE NOT (${except})`}`)
        .raw();
      for (const row of rows.iterate()) hash.update(`${JSON.stringify(row)}\n`);
    }
    return hash.digest('hex');
  } finally {
    db.close();
  }
}
