import Database from 'better-sqlite3';
import { TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';
import { defineMigrations } from '../../tenant-schema/sqlite/migrator.ts';

const LATEST = TENANT_MIGRATIONS.length;

/** The schema of a release to come: its step writes the largest table anew, and can be taken back word for word. */
export const NEXT_MIGRATIONS = defineMigrations([
  ...TENANT_MIGRATIONS,
  {
    version: LATEST + 1,
    name: 'sizes of messages',
    rewritesTables: true,
    sql: `
      CREATE TABLE message_sizes (
        id TEXT NOT NULL PRIMARY KEY,
        bytes INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      INSERT INTO message_sizes SELECT id, coalesce(octet_length(content), 0) FROM messages;
      UPDATE messages SET content = content || '';
    `,
  },
]);

/** Makes a file that nobody has open one of today's release. */
export function takeBack(path: string): void {
  const db = new Database(path, { fileMustExist: true });
  try {
    db.exec(`
      DROP TABLE IF EXISTS message_sizes;
      DELETE FROM migrations WHERE version > ${LATEST};
      PRAGMA user_version = ${LATEST};
    `);
  } finally {
    db.close();
  }
}
