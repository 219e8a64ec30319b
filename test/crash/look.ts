import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { NEXT_MIGRATIONS } from './next-schema.ts';

/** What is in a tenant's file. */
export interface Look {
  owner: string;
  schemaVersion: number;
  /** Equal exactly where every row is that a client can have put there. Readable, for failures. */
  content: string;
  /** Numbers of messages by conversation. */
  conversations: Map<string, number>;
}

/**
 * What was taken in or promised. Left out is what a copy or a restart may change: turns that were ended by it, their
 * conversations without a message, and whose file it is.
 */
const CONTENT = {
  configs: 'SELECT * FROM configs ORDER BY id',
  versions: 'SELECT * FROM config_versions ORDER BY config_id, version',
  conversations: 'SELECT * FROM conversations WHERE message_count > 0 ORDER BY id',
  messages: 'SELECT * FROM messages ORDER BY conversation_id, seq',
  turns: `SELECT * FROM turns WHERE status <> 'aborted' ORDER BY id`,
};

/** Looks at a copy of a file that nobody writes to, with what lies beside it. Fails where it is not sound. */
export function lookAt(path: string): Look {
  return inCopy(path, (db) => {
    const found = Object.entries(CONTENT).map(([name, sql]) => ({ name, rows: db.prepare(sql).all() }));
    const schemaVersion = Number(db.pragma('user_version', { simple: true }));
    const hasSizes = db.prepare(`SELECT count(*) FROM sqlite_schema WHERE name = 'message_sizes'`).pluck();
    expect(hasSizes.get() === 1, `half a migration in ${path}`).to.equal(
      schemaVersion === NEXT_MIGRATIONS.latest,
    );
    const counts = db.prepare<[], [string, number]>('SELECT id, message_count FROM conversations').raw();
    return {
      owner: String(db.prepare('SELECT id FROM tenant').pluck().get()),
      schemaVersion,
      content: [
        ...found.map(({ name, rows }) => `${rows.length} ${name}`),
        createHash('sha256').update(JSON.stringify(found)).digest('hex').slice(0, 12),
      ].join(', '),
      conversations: new Map(counts.all().filter(([, messages]) => messages > 0)),
    };
  });
}

/** As `lookAt`, for a file that came over the wire. */
export function lookAtBytes(bytes: Buffer): Look {
  const scratch = mkdtempSync(join(tmpdir(), 'nimblesite-look-'));
  try {
    writeFileSync(join(scratch, 'sent.db'), bytes);
    return lookAt(join(scratch, 'sent.db'));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** Fails where a database of any kind is not sound. */
export const expectSound = (path: string): void => inCopy(path, () => undefined);

/** Works on a copy that is sound. */
function inCopy<T>(path: string, work: (db: Database.Database) => T): T {
  const scratch = mkdtempSync(join(tmpdir(), 'nimblesite-look-'));
  try {
    const copy = join(scratch, 'copy.db');
    for (const suffix of ['', '-wal', '-journal']) {
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    }
    const db = new Database(copy, { fileMustExist: true });
    try {
      expect(db.pragma('integrity_check', { simple: true }), path).to.equal('ok');
      expect(db.pragma('foreign_key_check'), path).to.deep.equal([]);
      return work(db);
    } finally {
      db.close();
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** The databases right in a folder, by what stands before `.db`. */
export const databasesIn = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith('.db'))
        .map((name) => basename(name, '.db'))
    : [];

/** The ids of an owner's backups. Fails unless each is the file that its manifest tells of. */
export function wholeBackups(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => {
      const { sha256, size_bytes } = JSON.parse(readFileSync(join(folder, name), 'utf8'));
      const bytes = readFileSync(join(folder, name.replace(/json$/, 'db')));
      const hash = createHash('sha256').update(bytes).digest('hex');
      expect({ sha256: hash, size_bytes: bytes.length }, join(folder, name)).to.deep.equal({
        sha256,
        size_bytes,
      });
      return basename(name, '.json');
    });
}
