import { lstatSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { startThread } from '../../tenant-schema/sqlite/side-thread.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';
import { faultOf } from '../support/faults.ts';
import { fileOf, fill, until } from '../support/tenant-files.ts';
import { chat, configContent, startEngine, type TestEngine } from '../support/tenants.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const page = { limit: 100, cursor: null };

describe('what may take long on a tenant’s file', () => {
  let world: TestEngine;
  let id: string;
  const start = async (options: Parameters<typeof startEngine>[0] = {}): Promise<void> => {
    world = startEngine({ usesThreads: true, ...options });
    id = await world.tenant();
  };
  afterEach(() => world.stop());

  const use = <T>(work: (store: TenantStore) => T): Promise<T> => world.engine.use(id, work);
  const turns = (count: number): Promise<void> =>
    use((store) => {
      const config = store.createConfig(configContent({ name: world.ids() }));
      for (let index = 0; index < count; index += 1) chat(store, config.id, 'a question', 'an answer');
    });
  /** A thread that fails at the steps that `fails` says, and does nothing at the others. */
  const failing = (fails: string) => () =>
    new Worker(
      `const { parentPort } = require('node:worker_threads');
       parentPort.on('message', ({ name }) => { ${fails}; parentPort.postMessage({ result: undefined }); });`,
      { eval: true },
    );

  it('is answered beside the event loop as on it', async () => {
    await start();
    await use(fill);
    const { engine } = world;
    const filter = { search: 'title', configId: undefined, user: undefined };
    const logs = await engine.run(id, 'listLogs', {}, { limit: 3, cursor: null });
    expect(logs.data).to.have.length(3);
    expect(logs).to.deep.equal(await use((store) => store.listLogs({}, { limit: 3, cursor: null })));
    expect(await engine.run(id, 'listLogs', { status: 'error' }, page)).to.deep.equal(
      await use((store) => store.listLogs({ status: 'error' }, page)),
    );
    const conversations = await engine.run(id, 'listConversations', filter, page);
    expect(conversations.data.map(({ title }) => title)).to.deep.equal(['A title']);
    expect(conversations).to.deep.equal(await use((store) => store.listConversations(filter, page)));
    for (const group of ['day', 'model', 'config'] as const) {
      const range = { since: world.clock.ms - DAY_MS / 3, until: world.clock.ms + DAY_MS };
      expect(await engine.run(id, 'sumUsage', group, range, page)).to.deep.equal(
        await use((store) => store.sumUsage(group, range, page)),
      );
    }
  });

  it('is refused beside the event loop as on it', async () => {
    await start();
    const ask = { limit: 3, cursor: 'no cursor' };
    const here = await faultOf(() => use((store) => store.listLogs({}, ask)));
    const aside = await faultOf(() => world.engine.run(id, 'listLogs', {}, ask));
    expect({ code: aside.code, message: aside.message, details: aside.details }).to.deep.equal({
      code: here.code,
      message: here.message,
      details: here.details,
    });
    expect((await faultOf(() => world.engine.run(world.ids(), 'listLogs', {}, page))).code).to.equal(
      'tenant_unavailable',
    );
  });

  it('keeps the file open, and closes it no later where it is upkeep', async () => {
    await start();
    await turns(1);
    world.clock.advance(59_000);
    expect(await world.engine.runIfOpen(id, 'pruneLogs', 0, 1)).to.deep.equal({ removed: 0, isMore: false });
    const listing = world.engine.run(id, 'listLogs', {}, page);
    expect(world.engine.stats(), 'while it is read').to.include({ open: 1, leased: 1 });
    expect((await listing).data).to.have.length(1);
    world.clock.advance(59_000);
    await world.engine.runIfOpen(id, 'pruneLogs', 0, 1);
    world.clock.advance(2_000);
    world.engine.closeIdle();
    await world.engine.quiesce(id);
    expect(world.engine.stats().open).to.equal(0);
    expect(await world.engine.runIfOpen(id, 'pruneLogs', 0, 1)).to.equal(null);
  });

  it('lets nobody write to the file while it does, and nobody else wait', async () => {
    await start();
    await turns(300);
    const other = await world.tenant();
    world.clock.advance(2 * DAY_MS);
    // The thread is there.
    await world.engine.run(id, 'listLogs', {}, page);
    const rowsOf = (store: TenantStore): number =>
      store.listLogs({}, { limit: 500, cursor: null }).data.length;
    let isRemoving = true;
    const removing = Promise.all(
      [1, 2].map(() => world.engine.run(id, 'pruneLogs', world.clock.ms, 100)),
    ).finally(() => {
      isRemoving = false;
    });
    const seen = use(rowsOf);
    const turn = turns(1);
    await world.engine.use(other, () => expect(isRemoving).to.equal(true));
    expect(await seen).to.equal(100);
    await Promise.all([removing, turn]);
    expect((await use((store) => store.sumUsage('model', {}, page))).data[0]?.turns).to.equal(301);
    expect((await use((store) => store.listLogs({}, { limit: 500, cursor: null }))).data).to.have.length(101);
  });

  it('waits for the sync of what it saw', async () => {
    let sync = (): void => {};
    const synced = new Promise<void>((resolve) => {
      sync = resolve;
    });
    await start({ durability: 'full', syncFile: () => synced });
    const answered: string[] = [];
    const writing = turns(1).then(() => answered.push('turn'));
    const listing = world.engine.run(id, 'listLogs', {}, page).then(({ data }) => {
      answered.push('list');
      return data;
    });
    // The thread has answered by then: it does one thing after the other.
    const later = await world.tenant();
    world.engine.run(later, 'listLogs', {}, page).then(() => answered.push('later'));
    await until(() => answered.length > 0);
    expect(answered).to.deep.equal(['later']);
    sync();
    expect(await listing).to.have.length(1);
    await writing;
  });

  it('is done on the event loop where the thread ends first', async () => {
    const starts = [failing("throw new Error('full')"), startThread];
    await start({ startThread: () => (starts.shift() ?? startThread)() });
    await turns(2);
    expect((await world.engine.run(id, 'listLogs', {}, page)).data).to.have.length(2);
    expect(world.warnings).to.have.length(1);
    world.clock.advance(DAY_MS);
    expect(await world.engine.run(id, 'pruneLogs', world.clock.ms, 10)).to.include({ removed: 2 });
    await turns(1);
  });
});

describe('the -wal of a file that is written all the time', () => {
  let world: TestEngine;
  let id: string;
  afterEach(() => world.stop());
  const start = async (options: Parameters<typeof startEngine>[0] = {}): Promise<void> => {
    world = startEngine({ usesThreads: true, ...options });
    id = await world.tenant();
  };
  const write = (): Promise<unknown> =>
    world.engine.use(id, (store) => store.createConfig(configContent({ name: world.ids() })));
  const sizeOf = (suffix = ''): number => lstatSync(`${fileOf(world, id)}${suffix}`).size;

  it('is moved into it beside the event loop, and begun anew', async () => {
    await start();
    const atFirst = sizeOf();
    for (let count = 0; count < 100; count += 1) await write();
    expect(sizeOf(), 'not at a commit').to.equal(atFirst);
    await until(() => sizeOf() > atFirst);
    // The file is leased until that is over.
    await until(() => world.engine.stats().leased === 0);
    const longest = sizeOf('-wal');
    for (let count = 0; count < 99; count += 1) await write();
    expect(sizeOf('-wal')).to.be.at.most(longest * 1.5);
    expect(world.engine.stats()).to.include({ open: 1, misses: 1 });
  });

  it('stays where it cannot be moved, which is told, and nothing is lost', async () => {
    await start({
      startThread: () =>
        new Worker(
          `const { parentPort } = require('node:worker_threads');
           const error = { message: 'disk I/O error', sqlite: 'SQLITE_IOERR_FSYNC' };
           parentPort.on('message', () => parentPort.postMessage({ error }));`,
          { eval: true },
        ),
    });
    for (let count = 0; count < 100; count += 1) await write();
    await until(() => world.warnings.length > 0);
    expect(world.warnings[0]).to.have.nested.property('err.code', 'SQLITE_IOERR_FSYNC');
    await write();
    const { data } = await world.engine.use(id, (store) => store.listConfigs({ limit: 200, cursor: null }));
    expect(data).to.have.length(101);
  });
});
