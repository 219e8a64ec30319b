import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { expect } from 'chai';
import { closeDatabase, openDatabase } from '../../tenant-schema/sqlite/connection.ts';
import {
  defineMigrations,
  ForeignDatabaseError,
  type Migration,
  MigrationHistoryError,
  migrate,
  NewerDatabaseError,
} from '../../tenant-schema/sqlite/migrator.ts';

const APPLICATION_ID = 0x4e425854;

const families: Migration = {
  version: 1,
  name: 'families',
  sql: `CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
        CREATE TABLE children (id INTEGER PRIMARY KEY,
          parent_id INTEGER NOT NULL REFERENCES parents (id) ON DELETE CASCADE) STRICT;`,
};
const rebuiltParents: Migration = {
  version: 2,
  name: 'parents get an age',
  sql: `CREATE TABLE parents_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER) STRICT;
        INSERT INTO parents_new SELECT id, name, NULL FROM parents;
        DROP TABLE parents;
        ALTER TABLE parents_new RENAME TO parents;`,
};

describe('migrate', () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'migrator-'));
    path = join(folder, 'some.db');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Opens the file, works on it, closes it. */
  function withFile<T>(work: (db: Database) => T): T {
    const db = openDatabase(path, { mustExist: false, synchronous: 'NORMAL' });
    try {
      return work(db);
    } finally {
      expect(closeDatabase(db)).to.deep.equal({ checkpointed: true });
    }
  }
  const migrateTo = (db: Database, ...list: Migration[]) =>
    migrate(db, {
      applicationId: APPLICATION_ID,
      migrations: defineMigrations(list),
      now: 1_700_000_000_000,
    });

  it('makes an empty file ours, at the latest version, with foreign keys on afterwards', () => {
    withFile((db) => {
      expect(migrateTo(db, families, rebuiltParents)).to.deep.equal({ from: 0, to: 2 });
      expect(db.pragma('application_id', { simple: true })).to.equal(APPLICATION_ID);
      expect(db.pragma('user_version', { simple: true })).to.equal(2);
      expect(db.pragma('foreign_keys', { simple: true })).to.equal(1);
      expect(db.prepare('SELECT version, name, applied_at FROM migrations').raw().all()).to.deep.equal([
        [1, 'families', 1_700_000_000_000],
        [2, 'parents get an age', 1_700_000_000_000],
      ]);
    });
  });

  it('keeps the children of a parent table that is rebuilt', () => {
    withFile((db) => {
      migrateTo(db, families);
      db.exec("INSERT INTO parents VALUES (1, 'Ada'); INSERT INTO children VALUES (10, 1), (11, 1);");
    });
    withFile((db) => {
      expect(migrateTo(db, families, rebuiltParents)).to.deep.equal({ from: 1, to: 2 });
      expect(db.prepare('SELECT id FROM children').pluck().all()).to.deep.equal([10, 11]);
      expect(() => db.exec('INSERT INTO children VALUES (12, 99)')).to.throw(/FOREIGN KEY/);
    });
  });

  const failures: { what: string; sql: string; message: RegExp }[] = [
    {
      what: 'fails half-way',
      sql: 'CREATE TABLE extra (id) ; SELECT * FROM nowhere;',
      message: /nowhere/,
    },
    { what: 'leaves orphans', sql: 'DELETE FROM parents;', message: /"children".*refer to nothing/ },
  ];
  for (const { what, sql, message } of failures) {
    it(`leaves the file as it was when a migration ${what}`, () => {
      withFile((db) => {
        migrateTo(db, families);
        db.exec("INSERT INTO parents VALUES (1, 'Ada'); INSERT INTO children VALUES (10, 1);");
      });
      const before = readFileSync(path);
      withFile((db) => {
        const good = {
          version: 2,
          name: 'good',
          sql: 'CREATE TABLE good (id);',
        };
        expect(() => migrateTo(db, families, good, { version: 3, name: 'bad', sql })).to.throw(message);
        expect(db.inTransaction).to.equal(false);
        expect(db.pragma('foreign_keys', { simple: true })).to.equal(1);
        expect(db.pragma('user_version', { simple: true })).to.equal(1);
        expect(db.prepare('SELECT count(*) FROM children').pluck().get()).to.equal(1);
      });
      expect(readFileSync(path).equals(before)).to.equal(true);
    });
  }

  it('refuses a migration that ends the transaction it runs in', () => {
    withFile((db) => {
      expect(() => migrateTo(db, { ...families, sql: 'COMMIT;' })).to.throw(/ended the transaction/);
      expect(db.pragma('user_version', { simple: true })).to.equal(0);
    });
  });

  it('leaves an empty file empty when its first migration fails', () => {
    withFile((db) => {
      expect(() => migrateTo(db, { ...families, sql: 'CREATE TABLE a (id); nonsense;' })).to.throw(
        /nonsense/,
      );
      expect(db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get()).to.equal(0);
      expect(db.pragma('application_id', { simple: true })).to.equal(0);
    });
  });

  it('writes nothing and reads no table when the file is at the latest version', () => {
    withFile((db) => migrateTo(db, families));
    const before = readFileSync(path);
    withFile((db) => {
      // Another connection holds the write lock, so that any write would fail.
      const other = openDatabase(path, { mustExist: true, synchronous: 'NORMAL' });
      try {
        other.exec('BEGIN IMMEDIATE');
        db.pragma('busy_timeout = 0');
        // Names and hashes are not looked at either: that would be a read of a table at every open.
        expect(migrateTo(db, { ...families, name: 'renamed' })).to.deep.equal({ from: 1, to: 1 });
        other.exec('ROLLBACK');
      } finally {
        other.close();
      }
    });
    expect(readFileSync(path).equals(before)).to.equal(true);
  });

  it('refuses a file of a later release, with both versions', () => {
    withFile((db) => migrateTo(db, families, rebuiltParents));
    withFile((db) => {
      expect(() => migrateTo(db, families))
        .to.throw(NewerDatabaseError)
        .that.includes({ fileVersion: 2, programVersion: 1 });
    });
  });

  it("refuses another program's file, also one that has no application id", () => {
    for (const [applicationId, sql] of [
      [7, ''],
      [7, 'CREATE TABLE theirs (id);'],
      [0, 'CREATE TABLE theirs (id);'],
      [0, 'PRAGMA user_version = 1;'],
    ] as const) {
      withFile((db) => {
        db.exec(sql);
        db.pragma(`application_id = ${applicationId}`);
        const count = db.prepare('SELECT count(*) FROM sqlite_schema').pluck();
        const tables = count.get();
        expect(() => migrateTo(db, families)).to.throw(ForeignDatabaseError);
        expect(count.get()).to.equal(tables);
      });
      rmSync(path);
    }
  });

  it('refuses to build upon a migration that was edited, renamed or never recorded', () => {
    withFile((db) => migrateTo(db, families));
    withFile((db) => {
      const edited = { ...families, sql: `${families.sql} -- edited` };
      expect(() => migrateTo(db, edited, rebuiltParents)).to.throw(MigrationHistoryError, /families/);
      const renamed = { ...families, name: 'clans' };
      expect(() => migrateTo(db, renamed, rebuiltParents)).to.throw(MigrationHistoryError, /families/);
      db.exec('DELETE FROM migrations');
      expect(() => migrateTo(db, families, rebuiltParents)).to.throw(MigrationHistoryError, /records 0/);
      expect(db.pragma('user_version', { simple: true })).to.equal(1);
    });
  });

  it('refuses a list whose versions are not 1, 2, 3 in order', () => {
    expect(() => defineMigrations([rebuiltParents])).to.throw(/must have version 1, not 2/);
    expect(() => defineMigrations([families, families])).to.throw(/must have version 2, not 1/);
  });

  it('refuses to run inside a transaction, where foreign keys cannot be turned off', () => {
    withFile((db) => {
      expect(() => db.transaction(() => migrateTo(db, families))()).to.throw(/inside a transaction/);
    });
  });
});

describe('openDatabase', () => {
  it('sets at every open what SQLite forgets, and leaves one file behind at close', () => {
    const folder = mkdtempSync(join(tmpdir(), 'connection-'));
    try {
      const db = openDatabase(join(folder, 'a.db'), { mustExist: false, synchronous: 'FULL' });
      const setting = (name: string) => db.pragma(name, { simple: true });
      expect({
        journal: setting('journal_mode'),
        synchronous: setting('synchronous'),
        foreignKeys: setting('foreign_keys'),
        trustedSchema: setting('trusted_schema'),
        cache: setting('cache_size'),
        busyMs: setting('busy_timeout'),
        tempStore: setting('temp_store'),
        walBytesMax: setting('journal_size_limit'),
      }).to.deep.equal({
        journal: 'wal',
        synchronous: 2,
        foreignKeys: 1,
        trustedSchema: 0,
        cache: -2000,
        busyMs: 200,
        tempStore: 2,
        walBytesMax: 4_194_304,
      });
      expect(closeDatabase(db).checkpointed).to.equal(true);
      expect(db.open).to.equal(false);
      expect(() => openDatabase(join(folder, 'b.db'), { mustExist: true, synchronous: 'FULL' })).to.throw();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('says so when a reader keeps a checkpoint from finishing, and closes all the same', () => {
    const folder = mkdtempSync(join(tmpdir(), 'connection-'));
    try {
      const path = join(folder, 'a.db');
      const db = openDatabase(path, { mustExist: false, synchronous: 'NORMAL' });
      db.exec('CREATE TABLE t (id)');
      const reader = openDatabase(path, { mustExist: true, synchronous: 'NORMAL' });
      reader.exec('BEGIN; SELECT * FROM t;');
      db.exec('INSERT INTO t VALUES (1)');
      expect(closeDatabase(db)).to.deep.equal({ checkpointed: false });
      expect(db.open).to.equal(false);
      reader.exec('COMMIT');
      expect(closeDatabase(reader)).to.deep.equal({ checkpointed: true });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
