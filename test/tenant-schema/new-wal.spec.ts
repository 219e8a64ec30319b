import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import fc from 'fast-check';
import { closeDatabase, openDatabase } from '../../tenant-schema/sqlite/connection.ts';
import { type Commit, sparingNewWal } from '../../tenant-schema/sqlite/new-wal.ts';
import { temporaryFolder } from '../support/tenants.ts';

const OFF = 0;
const NORMAL = 1;
/** So little that any subset of them is soon found; a page has several. */
const BLOCK_BYTES = 512;

describe('the first commit to a -wal', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let path: string;
  let db: Database.Database;
  let commit: Commit;
  /** What somebody else does in the last moment. */
  let beforeBegin: () => void;
  beforeEach(() => {
    beforeBegin = () => {};
    folder = temporaryFolder();
    path = join(folder.path, 'a.db');
    const made = openDatabase(path, { mustExist: false, synchronous: 'NORMAL' });
    made.exec('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT');
    closeDatabase(made);
    // As it is on the disk until something is moved into it. While it is open, nobody else may touch it here.
    copyFileSync(path, asItWas());
    open();
  });
  afterEach(() => {
    db.close();
    folder.remove();
  });

  const asItWas = (): string => join(folder.path, 'before.db');
  const open = (): void => {
    db = openDatabase(path, { mustExist: true, synchronous: 'NORMAL' });
    const transaction = db.transaction((work: () => unknown) => work());
    commit = sparingNewWal(db, `${path}-wal`, <T>(work: () => T) => {
      beforeBegin();
      return transaction.immediate(work) as T;
    });
  };
  const level = (): unknown => db.pragma('synchronous', { simple: true });
  const addNotes = (count: number, chars = 10): unknown =>
    db
      .prepare(
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO notes (text) SELECT hex(zeroblob(?)) FROM n`,
      )
      .run(count, chars / 2);
  const noteCount = (file: string): unknown => {
    const copy = new Database(file);
    try {
      expect(copy.pragma('integrity_check', { simple: true })).to.equal('ok');
      return copy.prepare('SELECT count(*) FROM notes').pluck().get();
    } finally {
      copy.close();
    }
  };

  it('is made without a sync on the event loop where the -wal is empty, and no later one is', () => {
    expect(commit(level)).to.equal(OFF);
    expect(level()).to.equal(NORMAL);
    expect(commit(level)).to.equal(NORMAL);
  });

  it('is made with SQLite’s syncs where something is in the -wal already, and makes its changes once', () => {
    const other = new Database(path);
    const write = other.prepare("INSERT INTO notes (text) VALUES ('from elsewhere')");
    beforeBegin = () => void (level() === OFF && write.run());
    const levels: unknown[] = [];
    commit(() => {
      levels.push(level());
      addNotes(1);
    });
    other.close();
    expect(levels).to.deep.equal([NORMAL]);
    expect(db.prepare('SELECT count(*) FROM notes').pluck().get()).to.equal(2);
  });

  it('is tried again in the same way after one that was refused', () => {
    const refused = new Error('refused');
    expect(() =>
      commit(() => {
        addNotes(1);
        throw refused;
      }),
    ).to.throw(refused);
    expect(level()).to.equal(NORMAL);
    expect(commit(level)).to.equal(OFF);
  });

  it('is made with SQLite’s syncs after one that was refused when it had outgrown the memory for it', () => {
    db.pragma('cache_size = 10');
    expect(() =>
      commit(() => {
        addNotes(2000, 400);
        throw new Error('refused');
      }),
    ).to.throw('refused');
    expect(statSync(`${path}-wal`).size).to.be.greaterThan(0);
    expect(db.pragma('wal_autocheckpoint', { simple: true })).to.equal(1000);
    expect(commit(level)).to.equal(NORMAL);
  });

  it('moves nothing into the main file, however large it is; the next commit does, with its syncs', () => {
    commit(() => addNotes(2000, 4000));
    expect(statSync(`${path}-wal`).size).to.be.greaterThan(4_000_000);
    expect(statSync(path).size).to.equal(statSync(asItWas()).size);
    commit(() => addNotes(1));
    expect(statSync(path).size).to.be.greaterThan(4_000_000);
  });

  it('leaves a sound file after a power cut, whichever of its blocks have reached the disk', () => {
    commit(() => addNotes(2));
    commit(() => addNotes(3));
    commit(() => addNotes(4));
    const wal = readFileSync(`${path}-wal`);
    const blocks = Math.ceil(wal.length / BLOCK_BYTES);
    const copy = join(folder.path, 'cut.db');
    const found = new Set<unknown>();
    const cut = (isThere: (block: number) => boolean): void => {
      const left = Buffer.from(wal);
      for (let block = 0; block < blocks; block += 1) {
        if (!isThere(block)) left.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES).fill(0);
      }
      copyFileSync(asItWas(), copy);
      writeFileSync(`${copy}-wal`, left);
      const count = noteCount(copy);
      expect([0, 2, 5, 9]).to.include(count);
      found.add(count);
    };
    for (let end = 0; end <= blocks; end += 1) cut((block) => block < end);
    for (let hole = 0; hole < blocks; hole += 1) cut((block) => block !== hole);
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: blocks, maxLength: blocks }), (there) =>
        cut((block) => there[block] === true),
      ),
      { numRuns: 50 },
    );
    expect([...found]).to.have.members([0, 2, 5, 9]);
  });
});
