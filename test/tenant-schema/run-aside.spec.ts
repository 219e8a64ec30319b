import { renameSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
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
  /** A thread that ends with the first step. */
  const endingThread = (): Worker =>
    new Worker(
      "require('node:worker_threads').parentPort.on('message', () => { throw new Error('full'); })",
      {
        eval: true,
      },
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

  it('lets nobody use the tenant while it writes, and nobody else wait', async () => {
    /** Whether the thread has begun, and whether it may end. */
    const state = new Int32Array(new SharedArrayBuffer(8));
    await start({
      startThread: () =>
        new Worker(
          `const { parentPort, workerData: state } = require('node:worker_threads');
           parentPort.on('message', ({ id, name }) => {
             if (name === 'run') { Atomics.store(state, 0, 1); Atomics.wait(state, 1, 0); }
             parentPort.postMessage({ id, result: { removed: 0, isMore: false } });
           });`,
          { eval: true, workerData: state },
        ),
    });
    const other = await world.tenant();
    const removing = world.engine.run(id, 'pruneLogs', world.clock.ms, 100);
    await until(() => Atomics.load(state, 0) === 1);
    let isUsed = false;
    const turn = use(() => {
      isUsed = true;
    });
    await world.engine.use(other, () => {});
    expect(isUsed).to.equal(false);
    Atomics.store(state, 1, 1);
    Atomics.notify(state, 1);
    await Promise.all([removing, turn]);
    expect(isUsed).to.equal(true);
  });

  it('loses nothing where turns come between its steps', async () => {
    await start();
    await turns(300);
    world.clock.advance(2 * DAY_MS);
    const steps = [1, 2].map(() => world.engine.run(id, 'pruneLogs', world.clock.ms, 100));
    await Promise.all([...steps, turns(1), turns(1)]);
    expect((await use((store) => store.sumUsage('model', {}, page))).data[0]?.turns).to.equal(302);
    expect((await use((store) => store.listLogs({}, { limit: 500, cursor: null }))).data).to.have.length(102);
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

  it('is done by another thread where one ends first', async () => {
    const starts = [endingThread];
    await start({ startThread: (data) => (starts.shift() ?? startThread)(data) });
    await turns(3);
    world.clock.advance(DAY_MS);
    expect(await world.engine.run(id, 'pruneLogs', world.clock.ms, 2)).to.include({ removed: 2 });
    expect(await use((store) => store.listLogs({}, page).data.length)).to.equal(1);
    expect(world.warnings).to.have.length(1);
  });

  it('is done on the event loop where there is no thread', async () => {
    let threads = 0;
    await start({
      startThread: () => {
        threads += 1;
        if (threads > 2) throw new Error('ERR_WORKER_INIT_FAILED');
        return endingThread();
      },
    });
    await turns(2);
    expect((await world.engine.run(id, 'listLogs', {}, page)).data).to.have.length(2);
    expect((await world.engine.run(id, 'listLogs', {}, page)).data).to.have.length(2);
    world.clock.advance(DAY_MS);
    expect(await world.engine.run(id, 'pruneLogs', world.clock.ms, 10)).to.include({ removed: 2 });
    await turns(1);
  });

  it('is read from the file that is open, whatever lies in its place by now', async () => {
    await start();
    await turns(1);
    const other = await world.tenant('Other');
    await world.engine.use(other, (store) => store.createConfig(configContent()));
    await world.engine.quiesce(other);
    // What nobody should do, while it is open.
    renameSync(fileOf(world, other), fileOf(world, id));
    expect((await world.engine.run(id, 'listLogs', {}, page)).data).to.have.length(1);
    expect(world.warnings).to.deep.equal([]);
  });

  it('keeps no other tenant’s lists waiting while another program holds a lock', async () => {
    await start();
    await turns(1);
    const other = await world.tenant();
    world.clock.advance(DAY_MS);
    // Both threads are there.
    await world.engine.run(other, 'listLogs', {}, page);
    await world.engine.run(other, 'pruneLogs', 0, 1);
    const program = new Database(fileOf(world, id), { timeout: 0 });
    program.exec('BEGIN IMMEDIATE');
    let isRefused = false;
    const removing = faultOf(() => world.engine.run(id, 'pruneLogs', world.clock.ms, 10)).then((fault) => {
      isRefused = true;
      return fault.code;
    });
    await world.engine.run(other, 'listLogs', {}, page);
    expect(isRefused).to.equal(false);
    expect(await removing).to.equal('overloaded');
    program.exec('ROLLBACK');
    program.close();
    expect(await world.engine.run(id, 'pruneLogs', world.clock.ms, 10)).to.include({ removed: 1 });
  });
});
