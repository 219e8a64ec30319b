import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import fc from 'fast-check';
import { type CloseAside, closingIn } from '../../tenant-schema/sqlite/close-aside.ts';
import { type CloseResult, openDatabase } from '../../tenant-schema/sqlite/connection.ts';
import type { OpenFile } from '../../tenant-schema/sqlite/side-steps.ts';
import { createSideThread, type SideThread, startThread } from '../../tenant-schema/sqlite/side-thread.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';
import { configContent, startEngine, type TestEngine, temporaryFolder } from '../support/tenants.ts';

/** What a descriptor of this process is of; nothing where a thread has closed it in the meantime. */
function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return '';
  }
}

describe('a file that is closed beside the event loop', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let thread: SideThread;
  let close: CloseAside;
  let path: string;
  beforeEach(() => {
    folder = temporaryFolder();
    thread = createSideThread({ niceness: 0 });
    close = closingIn(thread);
    path = join(folder.path, 'a.db');
  });
  afterEach(async () => {
    await thread.end();
    folder.remove();
  });

  /** An open file with something in its `-wal`. */
  const open = (file = path): Database.Database => {
    const db = openDatabase(file, { mustExist: false, synchronous: 'NORMAL' });
    db.exec('CREATE TABLE IF NOT EXISTS notes (text TEXT); INSERT INTO notes VALUES (1)');
    return db;
  };
  const fileAt = (file: string): OpenFile => {
    const { dev, ino } = lstatSync(file);
    return { path: file, device: dev, inode: ino };
  };
  const closeAside = (db: Database.Database, file = path): Promise<CloseResult> => close(fileAt(file), db);
  const hasWal = (): boolean => existsSync(`${path}-wal`);
  const noteCount = (): unknown => {
    const db = new Database(path, { fileMustExist: true });
    const count = db.prepare('SELECT count(*) FROM notes').pluck().get();
    db.close();
    return count;
  };

  /** Tells what there is when it is closed here, with what follows then. */
  const whenClosed = (db: Database.Database, then: () => void): void => {
    const closeHere = db.close.bind(db);
    db.close = () => {
      const closed = closeHere();
      then();
      return closed;
    };
  };

  it('stands alone, with everything in it, and not by what is done here', async () => {
    const db = open();
    let hadWal = false;
    whenClosed(db, () => {
      hadWal = hasWal();
    });
    expect(await closeAside(db)).to.deep.equal({ checkpointed: true });
    expect({ hadWal, isOpen: db.open }).to.deep.equal({ hadWal: true, isOpen: false });
    expect(readdirSync(folder.path)).to.deep.equal(['a.db']);
    expect(noteCount()).to.equal(1);
  });

  /** Twenty files at once. */
  const closeMany = async (): Promise<void> => {
    const paths = Array.from({ length: 20 }, (_, index) => join(folder.path, `${index}.db`));
    const results = await Promise.all(paths.map((each) => closeAside(open(each), each)));
    expect(results).to.deep.equal(paths.map(() => ({ checkpointed: true })));
    expect(readdirSync(folder.path)).to.have.length(20);
  };

  it('is one of many, each of which is closed', () => closeMany());

  it('is closed here where the thread cannot open it', async () => {
    const db = open();
    expect(await close({ ...fileAt(path), path: join(folder.path, 'missing.db') }, db)).to.deep.equal({
      checkpointed: true,
    });
    expect({ isOpen: db.open, hasWal: hasWal() }).to.deep.equal({ isOpen: false, hasWal: false });
  });

  it('is closed here where the thread ends before it has opened it', async () => {
    const closing = closeAside(open());
    await thread.end();
    expect(await closing).to.deep.equal({ checkpointed: true });
    expect(hasWal()).to.equal(false);
    expect(await closeAside(open()), 'another thread takes the next one').to.deep.equal({
      checkpointed: true,
    });
    expect(noteCount()).to.equal(2);
  });

  it('is settled here where the thread ends before it has closed it', async () => {
    const db = open();
    whenClosed(db, () => void thread.end());
    expect(await closeAside(db)).to.deep.equal({ checkpointed: true });
    expect(hasWal()).to.equal(false);
    expect(noteCount()).to.equal(1);
  });

  describe('by a thread that fails', () => {
    const deaths: unknown[] = [];
    /** The first thread is this program, each later one the real one. */
    const failingOnce = (program: string): void => {
      const starts = [() => new Worker(program, { eval: true })];
      deaths.length = 0;
      thread = createSideThread({
        niceness: 0,
        died: (error) => deaths.push(error),
        start: (data) => (starts.shift() ?? startThread)(data),
      });
      close = closingIn(thread);
    };

    it('is closed all the same, and the next ones by another thread, each by itself', async () => {
      failingOnce(
        "require('node:worker_threads').parentPort.on('message', () => { throw new Error('full'); })",
      );
      await closeMany();
      await closeMany();
      expect(deaths.map(String)).to.deep.equal(['Error: full']);
      const held = readdirSync('/proc/self/fd').filter((descriptor) =>
        targetOf(descriptor).startsWith(folder.path),
      );
      expect(held).to.deep.equal([]);
    });

    it('is told of with the words of SQLite', async () => {
      failingOnce(`
        const { parentPort } = require('node:worker_threads');
        const error = { message: 'disk I/O error', sqlite: 'SQLITE_IOERR_FSYNC' };
        parentPort.on('message', ({ id, name }) => parentPort.postMessage(name === 'close' ? { id, error } : { id, result: undefined }));
      `);
      const { checkpointed, error } = await closeAside(open());
      expect(checkpointed).to.equal(false);
      expect(error).to.be.instanceOf(Database.SqliteError).and.include({
        message: 'disk I/O error',
        code: 'SQLITE_IOERR_FSYNC',
      });
    });
  });

  it('keeps its -wal while it is open elsewhere in this process, whose locks hold on', async () => {
    const other = open();
    expect(await closeAside(open())).to.include({ checkpointed: true });
    other.exec('INSERT INTO notes VALUES (3)');
    // Another program opens and closes it. Without our locks it would be the last, and remove the -wal.
    const look =
      "const db = require('better-sqlite3')(process.argv[1]); db.prepare('SELECT * FROM notes').all(); db.close()";
    execFileSync(process.execPath, ['-e', look, path]);
    expect(hasWal()).to.equal(true);
    other.close();
    expect(noteCount()).to.equal(3);
  });
});

describe('tenants whose idle files are closed beside the event loop', () => {
  let world: TestEngine;
  const places = 3;
  beforeEach(() => {
    world = startEngine({ openMax: places, usesThreads: true });
  });
  afterEach(() => world.stop());

  const add = (store: TenantStore): void => void store.createConfig(configContent({ name: world.ids() }));
  const count = (store: TenantStore): number => store.listConfigs({ limit: 100, cursor: null }).data.length;
  const walFiles = (): string[] => readdirSync(world.folder).filter((name) => name.endsWith('-wal'));

  it('wait for a file that is on its way out, and find everything in it', async () => {
    const id = await world.tenant();
    await world.engine.use(id, add);
    world.clock.advance(60_001);
    world.engine.closeIdle();
    expect(world.engine.stats(), 'it still counts as open').to.include({ open: 1, leased: 0 });
    expect(await world.engine.use(id, count)).to.equal(1);
    expect(world.engine.stats()).to.include({ open: 1, misses: 2 });
  });

  it('leave nothing beside a file that is replaced meanwhile', async () => {
    const id = await world.tenant();
    await world.engine.use(id, add);
    world.clock.advance(60_001);
    world.engine.closeIdle();
    const release = await world.engine.letGo(id);
    expect({ open: world.engine.stats().open, walFiles: walFiles() }).to.deep.equal({
      open: 0,
      walFiles: [],
    });
    release();
  });

  it('close no more files than tenants wait for places, however many requests', async () => {
    const [cold = '', ...warm] = await Promise.all(Array.from({ length: places + 1 }, () => world.tenant()));
    for (const id of warm) await world.engine.use(id, add);
    const counts = await Promise.all(Array.from({ length: 6 }, () => world.engine.use(cold, count)));
    expect(counts).to.deep.equal([0, 0, 0, 0, 0, 0]);
    expect(world.engine.stats()).to.include({ open: places, evictions: 1 });
  });

  it('never have more files open than places, and lose nothing, however they take turns', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, () => world.tenant()));
    const counts = new Map(ids.map((id) => [id, 0]));
    let openMost = 0;
    const filesOpen = (): number =>
      new Set(
        readdirSync('/proc/self/fd').flatMap((descriptor) => {
          const target = targetOf(descriptor);
          return target.startsWith(world.folder) && target.endsWith('.db') ? [target] : [];
        }),
      ).size;
    const visit = (index: number): Promise<void> => {
      const id = ids[index] ?? '';
      const expected = (counts.get(id) ?? 0) + 1;
      counts.set(id, expected);
      return world.engine.use(id, (store) => {
        openMost = Math.max(openMost, filesOpen());
        add(store);
        expect(count(store)).to.equal(expected);
      });
    };
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.nat({ max: 5 }), { maxLength: 8 }), { maxLength: 4 }),
        async (rounds) => {
          for (const round of rounds) {
            // One after the other for each tenant, all tenants at once.
            const byTenant = ids.map((_, index) => round.filter((each) => each === index));
            await Promise.all(
              byTenant.map(async (visits) => {
                for (const index of visits) await visit(index);
              }),
            );
            if (round.length > 5) world.clock.advance(60_001);
            world.engine.closeIdle();
          }
        },
      ),
      { numRuns: 5 },
    );
    expect(openMost).to.be.within(1, places);
    for (const id of ids)
      expect(await world.engine.use(id, count)).to.equal(Math.min(counts.get(id) ?? 0, 100));
    await world.engine.close();
    expect(walFiles()).to.deep.equal([]);
    expect(world.warnings).to.deep.equal([]);
  });
});
