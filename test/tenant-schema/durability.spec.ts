import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import fc from 'fast-check';
import type { EngineOptions } from '../../tenant-schema/sqlite/engine.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';
import { faultOf } from '../support/faults.ts';
import {
  answered,
  begin,
  configContent,
  failed,
  startEngine,
  type TestEngine,
  temporaryFolder,
  turnRequest,
} from '../support/tenants.ts';

/** A disk that takes what is written when the test says so. */
class Disk {
  readonly #waiting: { path: string; end: (error?: Error) => void }[] = [];
  /** What of each `-wal` a power cut would leave: what was in it when the last sync that has ended began. */
  readonly onDisk = new Map<string, Buffer>();
  begun = 0;
  /** Of the last sync. */
  descriptor: number | null = null;

  readonly sync: NonNullable<EngineOptions['syncFile']> = (descriptor, path) => {
    this.begun += 1;
    this.descriptor = descriptor;
    const content = path.endsWith('-wal') ? readFileSync(path) : null;
    return new Promise((resolve, reject) => {
      const end = (error?: Error): void => {
        if (error) reject(error);
        if (content && !error) this.onDisk.set(path, content);
        resolve();
      };
      this.#waiting.push({ path, end });
    });
  };

  get waiting(): string[] {
    return this.#waiting.map(({ path }) => basename(path));
  }

  /** Ends the sync that has waited longest, or the one of that number. */
  end(error?: Error, index = 0): void {
    const [sync] = this.#waiting.splice(index, 1);
    if (!sync) throw new Error('No sync is under way.');
    sync.end(error);
  }

  /** Ends each sync that comes, until `work` is done. */
  async during<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    const watched = work.finally(() => {
      isDone = true;
    });
    watched.catch(() => {});
    while (!isDone) {
      if (this.#waiting.length > 0) this.end();
      await setImmediate();
    }
    return watched;
  }
}

const addConfig = (name: string) => (store: TenantStore) => store.createConfig(configContent({ name }));
const names = (store: TenantStore) =>
  store.listConfigs({ limit: 100, cursor: null }).data.map(({ name }) => name);
const idempotency = { keyHash: 'a'.repeat(64), fingerprint: 'f' };

describe('what a tenant is told of as done', () => {
  let world: TestEngine;
  let disk: Disk;
  let id: string;
  let configId: string;
  beforeEach(async () => {
    disk = new Disk();
    world = startEngine({ durability: 'full', syncFile: disk.sync });
    id = await world.tenant();
    configId = (await disk.during(world.engine.use(id, addConfig('first')))).id;
    disk.begun = 0;
  });
  afterEach(() => disk.during(world.stop()));

  /** Begins a use, and tells whether it has been answered. */
  const watch = <T>(work: (store: TenantStore) => T) => {
    const state = { isAnswered: false, answer: world.engine.use(id, work) };
    const note = (): void => {
      state.isAnswered = true;
    };
    state.answer.then(note, note);
    return state;
  };
  it('is told only when a sync that began after the commit has ended', async () => {
    const write = watch(addConfig('a'));
    await setImmediate();
    expect(disk.waiting).to.deep.equal([`${id}.db-wal`]);
    expect(write.isAnswered).to.equal(false);
    disk.end();
    expect((await write.answer).name).to.equal('a');
  });

  it('is not covered by a sync that began before the commit; those who wait share the next one', async () => {
    const first = watch(addConfig('a'));
    await setImmediate();
    const others = ['b', 'c', 'd'].map((name) => watch(addConfig(name)));
    await setImmediate();
    expect(disk.waiting).to.have.length(1);
    disk.end();
    await first.answer;
    await setImmediate();
    expect(others.map(({ isAnswered }) => isAnswered)).to.deep.equal([false, false, false]);
    expect(disk.begun).to.equal(2);
    disk.end();
    await Promise.all(others.map(({ answer }) => answer));
    expect(disk.begun).to.equal(2);
  });

  it('is on the disk also where another request sees it first', async () => {
    const write = watch(addConfig('a'));
    await setImmediate();
    const read = watch(names);
    await setImmediate();
    expect(read.isAnswered).to.equal(false);
    disk.end();
    expect(await read.answer).to.deep.equal(['a', 'first']);
    await write.answer;
    expect(disk.begun, 'a read pays for no sync of its own').to.equal(1);
    await world.engine.use(id, names);
    expect(disk.begun).to.equal(1);
  });

  it('is on the disk also where another process sees it first', async () => {
    const otherDisk = new Disk();
    const other = world.restart({
      syncFile: otherDisk.sync,
      isLiveRun: () => true,
      owner: { bringUp: async () => {}, closedWithRest() {} },
    });
    await otherDisk.during(other.engine.use(id, names));
    otherDisk.begun = 0;
    const write = watch(addConfig('a'));
    await setImmediate();
    let isAnswered = false;
    const read = other.engine.use(id, names).finally(() => {
      isAnswered = true;
    });
    await setImmediate();
    expect({ isAnswered, waiting: otherDisk.waiting }).to.deep.equal({
      isAnswered: false,
      waiting: [`${id}.db-wal`],
    });
    otherDisk.end();
    expect(await read).to.deep.equal(['a', 'first']);
    expect(await other.engine.use(id, names)).to.deep.equal(['a', 'first']);
    expect(otherDisk.begun, 'it is synced once').to.equal(1);
    disk.end();
    await write.answer;
    await other.engine.close();
  });

  it('is on the disk before the answer under an Idempotency-Key is given again, whoever has written it', async () => {
    const request = turnRequest(configId, 'Hi', { idempotency });
    const turn = await world.engine.use(id, (store) => begin(store, request));
    await disk.during(
      world.engine.use(id, (store) =>
        store.finishTurn(turn, { ...answered(turn, 'Hello'), answer: { a: 1 } }),
      ),
    );
    const again = watch((store) => store.beginTurn(request));
    await setImmediate();
    expect(again.isAnswered).to.equal(false);
    disk.end();
    expect(await again.answer).to.deep.equal({ kind: 'replayed', answer: { a: 1 } });
  });

  it('has no turn in it that has only begun, and an end of one in every case', async () => {
    const turn = await world.engine.use(id, (store) => begin(store, turnRequest(configId, 'Hi')));
    expect(disk.begun).to.equal(0);
    const end = watch((store) => store.failTurn(turn, failed));
    await setImmediate();
    expect(end.isAnswered).to.equal(false);
    disk.end();
    expect(await end.answer).to.equal(true);
  });

  it('has rows in it that were removed for their age only when something else is', async () => {
    const turn = await world.engine.use(id, (store) => begin(store, turnRequest(configId, 'Hi')));
    await disk.during(world.engine.use(id, (store) => store.failTurn(turn, failed)));
    disk.begun = 0;
    const { removed } = await world.engine.use(id, (store) => store.pruneLogs(world.clock.now() + 1, 10));
    expect({ removed, begun: disk.begun }).to.deep.equal({ removed: 1, begun: 0 });
  });

  it('survives its process only, where no more is asked for', async () => {
    await disk.during(world.engine.close());
    world = world.restart({ durability: 'normal' });
    await world.engine.use(id, addConfig('a'));
    expect(disk.begun).to.equal(0);
  });

  it('does not lose its name: the first sync of a file that was opened includes the folder', async () => {
    await disk.during(world.engine.close());
    world = world.restart();
    const write = watch(addConfig('b'));
    await setImmediate();
    disk.end();
    await setImmediate();
    expect(disk.waiting).to.deep.equal([basename(world.folder)]);
    expect(write.isAnswered).to.equal(false);
    disk.end();
    await write.answer;
    disk.begun = 0;
    await disk.during(world.engine.use(id, addConfig('c')));
    expect(disk.begun).to.equal(1);
  });

  describe('where the disk does not take it', () => {
    const broken = new Error('EIO');

    it('is synced through a descriptor that was open before it was written, which no failure escapes', async () => {
      await disk.during(world.engine.close());
      world = world.restart();
      const openWals = (): string[] =>
        readdirSync('/proc/self/fd').filter((descriptor) => {
          const path = `/proc/self/fd/${descriptor}`;
          return existsSync(path) && readlinkSync(path) === join(world.folder, `${id}.db-wal`);
        });
      await world.engine.use(id, names);
      const before = openWals();
      const write = watch(addConfig('a'));
      await setImmediate();
      expect(before).to.include(String(disk.descriptor));
      await disk.during(write.answer);
      await world.engine.close();
      expect(openWals()).to.deep.equal([]);
    });

    it('is refused to all who wait, and the file goes on when all of it was written anew', async () => {
      const first = watch(addConfig('a'));
      await setImmediate();
      const second = watch(addConfig('b'));
      await setImmediate();
      disk.end(broken);
      for (const { answer } of [first, second]) {
        const fault = await faultOf(() => answer);
        expect(fault.code).to.equal('tenant_unavailable');
        expect(fault.message).not.to.contain('wal');
      }
      expect(disk.begun, 'a later success would prove nothing').to.equal(1);
      expect(world.engine.stats().open).to.equal(0);
      // Closing has moved everything to the main file, and synced that.
      expect(await world.engine.use(id, names)).to.deep.equal(['b', 'a', 'first']);
      expect((await disk.during(world.engine.use(id, addConfig('c')))).name).to.equal('c');
      expect(world.warnings).to.have.length(1);
    });

    it('stays refused for as long as it cannot be written anew', async () => {
      const other = new Database(join(world.folder, `${id}.db`));
      other.exec('BEGIN; SELECT count(*) FROM configs');
      const write = watch(addConfig('a'));
      await setImmediate();
      disk.end(broken);
      await faultOf(() => write.answer);
      expect((await faultOf(() => world.engine.use(id, names))).code).to.equal('tenant_unavailable');
      other.close();
      expect(await world.engine.use(id, names)).to.deep.equal(['a', 'first']);
    });

    it('is nobody else’s trouble', async () => {
      const neighbour = await world.tenant();
      const write = watch(addConfig('a'));
      await setImmediate();
      disk.end(broken);
      await faultOf(() => write.answer);
      expect((await disk.during(world.engine.use(neighbour, addConfig('b')))).name).to.equal('b');
    });
  });

  it('is found after a power cut, however turns and syncs fall', async () => {
    const second = await world.tenant();
    const secondConfig = await disk.during(world.engine.use(second, addConfig('first')));
    const tenants = [
      { id, configId },
      { id: second, configId: secondConfig.id },
    ];
    const acknowledged = new Map<string, string[]>(tenants.map((tenant) => [tenant.id, []]));
    const copies = temporaryFolder();
    const expectAll = (tenantId: string): void => {
      const source = join(world.folder, `${tenantId}.db`);
      const copy = join(copies.path, 'cut.db');
      // By another process: to close a file here would drop SQLite's locks on it.
      execFileSync('cp', [source, copy]);
      writeFileSync(`${copy}-wal`, disk.onDisk.get(`${source}-wal`) ?? '');
      const db = new Database(copy);
      const found = db.prepare<[], string>("SELECT id FROM turns WHERE status = 'ok'").pluck().all();
      const sound = db.pragma('integrity_check', { simple: true });
      db.close();
      expect(sound).to.equal('ok');
      expect(found).to.include.members(acknowledged.get(tenantId) ?? []);
    };

    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('turn' as const), tenant: fc.nat({ max: 1 }) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('sync' as const), tenant: fc.nat({ max: 1 }) }) },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('pause' as const), tenant: fc.nat({ max: 1 }) }),
      },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 12 }), async (steps) => {
        const running: Promise<void>[] = [];
        const chat = async ({ id: tenantId, configId: config }: { id: string; configId: string }) => {
          const turn = await world.engine.use(tenantId, (store) => begin(store, turnRequest(config, 'Hi')));
          await world.engine.use(tenantId, (store) => store.finishTurn(turn, answered(turn, 'Hello')));
          acknowledged.get(tenantId)?.push(turn.id);
          expectAll(tenantId);
        };
        for (const { kind, tenant } of steps) {
          const chosen = tenants[tenant];
          if (kind === 'turn' && chosen) running.push(chat(chosen));
          else if (kind === 'sync' && disk.waiting.length > tenant) disk.end(undefined, tenant);
          else await setImmediate();
        }
        await disk.during(Promise.all(running));
      }),
      { numRuns: 6 },
    );
    copies.remove();
    expect([...acknowledged.values()].flat().length).to.be.greaterThan(8);
  });
});
