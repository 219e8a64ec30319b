import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { encodeCursor } from '../../tenant-schema/page.ts';
import { createContext } from '../../tenant-schema/sqlite/handle.ts';
import { createStore } from '../../tenant-schema/sqlite/store.ts';
import * as tables from '../../tenant-schema/sqlite/tables.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';
import { faultOf } from '../support/faults.ts';
import { expectSchemaToMatch } from '../support/schema-match.ts';
import { begin, chat, configContent, startEngine, type TestEngine, turnRequest } from '../support/tenants.ts';

const firstPage = { limit: 100, cursor: null };
const addConfig = (name: string) => (store: TenantStore) => store.createConfig(configContent({ name }));
const countConfigs = (store: TenantStore) => store.listConfigs(firstPage).data.length;

describe('tenant databases as files', () => {
  let world: TestEngine;
  beforeEach(() => {
    world = startEngine();
  });
  afterEach(() => world.stop());
  const fileOf = (id: string) => join(world.folder, `${id}.db`);
  /** Closes every file, so that it may be opened by other means. */
  const closeAll = async () => {
    await world.engine.close();
    world = world.restart();
  };

  it('makes one file per tenant, readable by its owner only, that names its tenant', async () => {
    const id = await world.tenant('Ünïcode & Söhne');
    expect(statSync(fileOf(id)).mode & 0o777).to.equal(0o600);
    await world.engine.use(id, (store) => store.setTenantName('New Name'));
    await closeAll();
    const db = new Database(fileOf(id), { readonly: true });
    expect(db.prepare('SELECT id, name FROM tenant').all()).to.deep.equal([{ id, name: 'New Name' }]);
    db.close();
  });

  it('has the tables that drizzle was told of', async () => {
    const id = await world.tenant();
    await closeAll();
    const db = new Database(fileOf(id), { readonly: true });
    expectSchemaToMatch(db, Object.values(tables));
    db.close();
  });

  it('leaves nothing behind when a tenant cannot be made', async () => {
    const id = await world.tenant();
    await world.engine.use(id, addConfig('kept'));
    const before = readdirSync(world.folder).sort();
    let thrown: unknown;
    await world.engine.create({ id, name: 'again' }).catch((error: unknown) => {
      thrown = error;
    });
    expect(thrown).to.be.an('error');
    expect(readdirSync(world.folder).sort()).to.deep.equal(before);
    expect(await world.engine.use(id, countConfigs)).to.equal(1);
  });

  it('removes what a crash left of a tenant under construction', async () => {
    await world.engine.close();
    const leftover = join(world.folder, '.creating', 'x.db');
    writeFileSync(leftover, 'half');
    world = world.restart();
    expect(existsSync(leftover)).to.equal(false);
  });

  it('removes a tenant without a trace', async () => {
    const id = await world.tenant();
    await world.engine.use(id, addConfig('a'));
    await world.engine.destroy(id);
    expect(readdirSync(world.folder)).to.deep.equal(['.creating']);
    expect((await faultOf(() => world.engine.use(id, countConfigs))).code).to.equal('tenant_unavailable');
  });

  it('puts every byte of a tenant into that file alone', async () => {
    const canary = (name: string) => `canary-${name}-0f9d`;
    const ids = await Promise.all(['a', 'b'].map((name) => world.tenant(canary(name))));
    const [a = '', b = ''] = ids;
    for (const [id, name] of [
      [a, 'a'],
      [b, 'b'],
    ] as const) {
      await world.engine.use(id, (store) => {
        const config = store.createConfig(configContent({ name: canary(name), systemPrompt: canary(name) }));
        chat(store, config.id, canary(name), canary(name), {
          user: canary(name),
          metadata: { x: canary(name) },
        });
      });
    }
    await closeAll();
    expect(readFileSync(fileOf(a)).includes(canary('a'))).to.equal(true);
    expect(readFileSync(fileOf(a)).includes(canary('b'))).to.equal(false);
    expect(readFileSync(fileOf(a)).includes(b)).to.equal(false);
    expect(readFileSync(fileOf(b)).includes(canary('a'))).to.equal(false);
    expect(readFileSync(fileOf(b)).includes(a)).to.equal(false);
  });

  it('keeps writes through a close, with no -wal left', async () => {
    const id = await world.tenant();
    await world.engine.use(id, addConfig('kept'));
    await world.engine.close();
    expect(readdirSync(world.folder).sort()).to.deep.equal(['.creating', `${id}.db`]);
    world = world.restart();
    expect(await world.engine.use(id, countConfigs)).to.equal(1);
  });

  describe('a file that cannot be used', () => {
    const damage: Record<string, (path: string, world: TestEngine) => void | Promise<void>> = {
      'a missing file': (path) => chmodSync(path, 0o600),
      'an empty file': (path) => writeFileSync(path, ''),
      'random bytes': (path) => writeFileSync(path, Buffer.alloc(8192, 0xa5)),
      'a file cut short': (path) => writeFileSync(path, readFileSync(path).subarray(0, 5000)),
      'the database of another tenant': async (path, { engine, folder, ids }) => {
        const other = ids();
        await engine.create({ id: other, name: 'Other' });
        writeFileSync(path, readFileSync(join(folder, `${other}.db`)));
      },
      'a newer schema': (path) => edit(path, (db) => db.pragma('user_version = 999')),
      "another program's database": (path) => edit(path, (db) => db.pragma('application_id = 1')),
      'a changed history of migrations': (path) =>
        edit(path, (db) => {
          db.pragma('user_version = 0');
        }),
    };
    const edit = (path: string, work: (db: Database.Database) => void) => {
      const db = new Database(path);
      work(db);
      db.close();
    };
    for (const [what, change] of Object.entries(damage)) {
      it(`makes that tenant alone unavailable, with the reason as the cause: ${what}`, async () => {
        const good = await world.tenant();
        const bad = await world.tenant();
        if (what === 'a missing file') await world.engine.destroy(bad);
        else await change(fileOf(bad), world);
        const fault = await faultOf(() => world.engine.use(bad, countConfigs));
        expect(fault.code).to.equal('tenant_unavailable');
        expect(fault.cause).to.be.instanceOf(Error);
        expect(fault.message).not.to.include(bad).and.not.to.include(world.folder);
        expect(await world.engine.use(good, countConfigs)).to.equal(0);
        expect(world.engine.stats().open).to.equal(1);
      });
    }

    it('does not follow a link out of the folder', async () => {
      const real = await world.tenant();
      const linked = world.ids();
      symlinkSync(fileOf(real), fileOf(linked));
      expect((await faultOf(() => world.engine.use(linked, countConfigs))).code).to.equal(
        'tenant_unavailable',
      );
    });

    it('does not fill an empty file with empty tables over the data that is lost', async () => {
      const id = await world.tenant();
      writeFileSync(fileOf(id), '');
      await faultOf(() => world.engine.use(id, countConfigs));
      await closeAll();
      expect(statSync(fileOf(id)).size).to.be.lessThan(8192);
      const db = new Database(fileOf(id), { readonly: true });
      expect(db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get()).to.equal(0);
      db.close();
    });
  });

  it('answers each list from an index, never by sorting or by reading a table through', async () => {
    const id = await world.tenant();
    await closeAll();
    const db = new Database(fileOf(id));
    const statements: string[] = [];
    const prepare = db.prepare.bind(db) as (sql: string) => Database.Statement;
    db.prepare = ((sql: string) => {
      statements.push(sql);
      return prepare(sql);
    }) as typeof db.prepare;
    const store = createStore(createContext(db, { clock: world.clock, ids: world.ids, runId: 'run' }));
    const page = { limit: 5, cursor: encodeCursor(world.ids()) };
    for (const filter of [
      { configId: 'x' },
      { conversationId: 'x' },
      { user: 'x' },
      { status: 'error' as const },
    ]) {
      store.listLogs(filter, page);
      store.listLogs({ ...filter, since: 1, until: 2 }, firstPage);
    }
    store.listLogs({ since: 1, until: 2 }, page);
    store.listConversations({ configId: 'x' }, page);
    store.listConversations({ user: 'x' }, page);
    store.listConversations({ user: 'x', configId: 'x' }, page);
    const config = store.createConfig(configContent());
    const { conversationId } = chat(store, config.id, 'x', 'y');
    chat(store, config.id, 'x', 'y', { conversationId });
    store.listMessages(conversationId, { limit: 1, cursor: encodeCursor('2') });
    store.listConfigs(page);
    store.listConfigVersions(config.id, firstPage);

    const selects = statements.filter((sql) => sql.startsWith('select'));
    expect(selects.length).to.be.greaterThan(15);
    for (const sql of selects) {
      const plan = (
        prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...sql.replaceAll(/[^?]/g, '')) as { detail: string }[]
      ).map(({ detail }) => detail);
      for (const step of plan) expect(step, sql).not.to.match(/^SCAN|TEMP B-TREE/);
    }
    db.close();
  });

  it('waits for work under way, closes, and refuses what comes after', async () => {
    const id = await world.tenant();
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const work = world.engine.use(id, async (store) => {
      await gate;
      return countConfigs(store);
    });
    await Promise.resolve();
    const closing = world.engine.close();
    expect((await faultOf(() => world.engine.use(id, countConfigs))).code).to.equal('overloaded');
    release();
    expect(await work).to.equal(0);
    await closing;
    expect(world.engine.stats().open).to.equal(0);
  });

  it('refuses a store that is used after its file was closed', async () => {
    const id = await world.tenant();
    const kept = await world.engine.use(id, (store) => store);
    await closeAll();
    expect(() => kept.listConfigs(firstPage)).to.throw(/not open/);
    expect(() => kept.beginTurn(turnRequest(id, 'x'))).to.throw(/not open/);
  });
});

describe('the pool of open files', () => {
  let world: TestEngine;
  afterEach(() => world.stop());
  const walFiles = () => readdirSync(world.folder).filter((name) => name.endsWith('-wal'));

  it('opens a file once for many callers at the same time', async () => {
    world = startEngine();
    const id = await world.tenant();
    await Promise.all(
      Array.from({ length: 50 }, () => world.engine.use(id, async (store) => countConfigs(store))),
    );
    expect(world.engine.stats()).to.include({ misses: 1, hits: 49, open: 1, leased: 0 });
  });

  it('opens a file that another process of the server has locked as soon as it is free', async () => {
    world = startEngine();
    const id = await world.tenant();
    const { id: configId } = await world.engine.use(id, (store) => store.createConfig(configContent()));
    // A turn of a run that is over: to open the file writes to it.
    await world.engine.use(id, (store) => begin(store, turnRequest(configId, 'Hi')));
    await world.engine.close();
    world = world.restart({ closedElsewhere: (_, work) => work() });
    const other = new Database(join(world.folder, `${id}.db`));
    other.exec('BEGIN IMMEDIATE');
    const using = world.engine.use(id, (store) => store.listLogs({}, { limit: 1, cursor: null }).data);
    await setImmediate();
    other.exec('COMMIT');
    other.close();
    expect((await using).map(({ errorCode }) => errorCode)).to.deep.equal(['server_stopped']);
  });

  it('serves more tenants than places at once, and never has more files open than places', async () => {
    world = startEngine({ openMax: 3 });
    const ids = await Promise.all(Array.from({ length: 12 }, (_, index) => world.tenant(`t${index}`)));
    const descriptors = () => readdirSync('/proc/self/fd').length;
    let openMost = 0;
    const visit = async (id: string, round: number) =>
      world.engine.use(id, async (store) => {
        openMost = Math.max(openMost, world.engine.stats().open);
        store.createConfig(configContent({ name: `c${round}` }));
        // A lease held over turns of the event loop, as an export would.
        await setImmediate();
        return countConfigs(store);
      });
    await Promise.all(ids.map((id) => visit(id, 0)));
    const before = descriptors();
    for (let round = 1; round <= 5; round += 1) {
      const counts = await Promise.all(ids.map((id) => visit(id, round)));
      expect(counts).to.deep.equal(ids.map(() => round + 1));
    }
    expect(openMost).to.equal(3);
    expect(descriptors()).to.equal(before);
    expect(world.engine.stats().evictions).to.be.greaterThan(0);
  });

  it('closes the file that was used least recently first', async () => {
    world = startEngine({ openMax: 2 });
    const [a = '', b = '', c = ''] = await Promise.all(['a', 'b', 'c'].map((name) => world.tenant(name)));
    for (const id of [a, b, a, c]) await world.engine.use(id, countConfigs);
    const { misses } = world.engine.stats();
    await world.engine.use(a, countConfigs);
    expect(world.engine.stats().misses).to.equal(misses);
    await world.engine.use(b, countConfigs);
    expect(world.engine.stats().misses).to.equal(misses + 1);
  });

  it('closes an idle file after its time, whole and without a -wal, and leaves a leased one alone', async () => {
    world = startEngine({ idleMs: 60_000 });
    const [idle = '', busy = ''] = await Promise.all(['idle', 'busy'].map((name) => world.tenant(name)));
    await world.engine.use(idle, addConfig('a'));
    await world.engine.use(busy, async (store) => {
      store.createConfig(configContent());
      world.clock.advance(59_999);
      world.engine.closeIdle();
      expect(world.engine.stats().open).to.equal(2);
      world.clock.advance(2);
      world.engine.closeIdle();
      expect(world.engine.stats()).to.include({ open: 1, leased: 1 });
      expect(walFiles()).to.deep.equal([`${busy}.db-wal`]);
    });
    // Idle only from here on.
    world.engine.closeIdle();
    expect(world.engine.stats().open).to.equal(1);
  });

  for (const code of [
    'SQLITE_CORRUPT_VTAB',
    'SQLITE_NOTADB',
    'SQLITE_IOERR_WRITE',
    'SQLITE_READONLY_DBMOVED',
  ]) {
    it(`drops a file of which SQLite says ${code} while it is open`, async () => {
      world = startEngine();
      const id = await world.tenant();
      await world.engine.use(id, countConfigs);
      const damaged = () => {
        throw new Database.SqliteError('as SQLite says it', code);
      };
      expect((await faultOf(() => world.engine.use(id, damaged))).code).to.equal('tenant_unavailable');
      expect(world.engine.stats().open).to.equal(0);
      expect(await world.engine.use(id, countConfigs)).to.equal(0);
    });
  }

  it('says that a file is locked by another program instead of failing', async () => {
    world = startEngine();
    const id = await world.tenant();
    await world.engine.use(id, countConfigs);
    const outside = new Database(join(world.folder, `${id}.db`));
    outside.exec('BEGIN IMMEDIATE');
    try {
      const fault = await faultOf(() => world.engine.use(id, addConfig('x')));
      expect(fault.code).to.equal('overloaded');
      expect(fault.details.retryAfterSeconds).to.equal(1);
    } finally {
      outside.close();
    }
    await world.engine.use(id, addConfig('x'));
  });
});
