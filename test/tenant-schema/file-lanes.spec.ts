import { copyFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { createFileWorker } from '../../tenant-schema/sqlite/file-worker.ts';
import { faultOf } from '../support/faults.ts';
import {
  fileOf,
  fileWorkers,
  fill,
  forge,
  hashOf,
  leftovers,
  readAll,
  until,
} from '../support/tenant-files.ts';
import { startEngine, type TestEngine } from '../support/tenants.ts';

const FIXTURE = fileURLToPath(new URL('../fixtures/tenant-v1.db', import.meta.url));

describe('processes that work on files', () => {
  describe('that have nothing to do', () => {
    const source = FIXTURE;
    it('end, but for those that are kept', async () => {
      const worker = createFileWorker({ childrenMax: 3, keptChildren: 1, idleMs: 0 });
      const looks = Array.from({ length: 3 }, () => worker.run('integrity', { source }, null));
      const started = fileWorkers();
      expect(started).to.have.length(3);
      await Promise.all(looks);
      await until(() => fileWorkers().length === 1);
      const kept = fileWorkers();
      expect(started).to.include.members(kept);
      await worker.run('integrity', { source }, null);
      expect(fileWorkers()).to.deep.equal(kept);
      await worker.close();
      expect(fileWorkers()).to.deep.equal([]);
    });

    it('are there before the first copy where an engine is to start with one', async () => {
      const world = startEngine({ startsCopier: true });
      const started = fileWorkers();
      expect(started).to.have.length(1);
      // As far behind the server as there is: nobody who chats shall notice a copy.
      expect(started.map((pid) => getPriority(pid))).to.deep.equal([19]);
      await world.engine.snapshot(await world.tenant(), join(world.folder, 'copy.sqlite'));
      expect(fileWorkers()).to.deep.equal(started);
      await world.stop();
      expect(fileWorkers()).to.deep.equal([]);
    });
  });

  let world: TestEngine;
  let limitMs: number;
  beforeEach(() => {
    limitMs = 60_000;
    world = startEngine({ timeLimitMsOf: () => limitMs });
  });
  afterEach(() => world.stop());
  /** A tenant whose file is behind. */
  const adopt = (): string => {
    const id = world.ids();
    copyFileSync(FIXTURE, fileOf(world, id));
    forge(fileOf(world, id), `UPDATE tenant SET id = '${id}'`);
    return id;
  };
  const stopAll = (): void => {
    for (const pid of fileWorkers()) process.kill(pid, 'SIGSTOP');
  };

  it('copy, check and migrate while every file from elsewhere takes as long as it likes', async () => {
    const id = await world.tenant();
    const imports = Array.from({ length: 3 }, () =>
      world.engine.importFile(FIXTURE, { id: world.ids(), name: 'Arrives' }).catch((error: unknown) => error),
    );
    await until(() => fileWorkers().length === 2);
    stopAll();
    const hanging = fileWorkers();
    await world.engine.snapshot(id, join(world.folder, 'copy.sqlite'));
    expect((await world.engine.check(id)).problem).to.equal(null);
    await world.engine.use(adopt(), readAll);
    expect(await world.engine.list()).to.have.length(2);
    for (const pid of hanging) process.kill(pid, 'SIGCONT');
    await Promise.all(imports);
    expect(await world.engine.list()).to.have.length(5);
  });

  it('exchange files that are closed for it, and bring in what a crash left, while no copy comes to its end', async () => {
    const [copied, replaced, open] = [await world.tenant(), await world.tenant(), await world.tenant()];
    const backup = join(world.folder, 'backup.sqlite');
    await world.engine.snapshot(replaced, backup);
    await world.engine.use(open, fill);
    const crashed = world.ids();
    for (const ending of ['', '-wal'])
      copyFileSync(fileOf(world, open) + ending, fileOf(world, crashed) + ending);

    let copies: Promise<unknown>[] = [];
    const kept = join(world.folder, 'kept.sqlite');
    await world.engine.replace({ id: replaced, name: 'Acme' }, backup, kept, {
      async during(exchange) {
        stopAll();
        copies = ['a', 'b'].map((name) =>
          world.engine.snapshot(copied, join(world.folder, `${name}.sqlite`)),
        );
        await until(() => fileWorkers().length === 2);
        stopAll();
        return exchange();
      },
    });
    expect(await world.engine.quiesce(crashed)).to.equal(true);
    for (const pid of fileWorkers()) process.kill(pid, 'SIGCONT');
    await Promise.all(copies);
  });

  it('are ended where one hangs, with an error that says so, and its tenant is free again', async () => {
    // So that there are processes to stop before they are given anything to do.
    const id = await world.tenant();
    await world.engine.use(id, fill);
    await world.engine.check(id);
    await world.engine.migrate(adopt());
    const behind = adopt();
    const before = hashOf(fileOf(world, behind));
    stopAll();
    limitMs = 50;
    const target = join(world.folder, 'copy.sqlite');
    const [copied, migrated] = await Promise.all([
      faultOf(() => world.engine.snapshot(id, target)),
      faultOf(() => world.engine.use(behind, readAll)),
    ]);
    for (const { code, message, cause } of [copied, migrated]) {
      expect(code).to.equal('tenant_unavailable');
      expect(message).to.match(/took too long and was ended/);
      expect(String(cause)).to.match(/it took longer than 0\.05 s/);
    }
    expect(
      leftovers(world).filter((name) => name.startsWith('.creating') || name.startsWith(behind)),
    ).to.deep.equal([]);
    expect(hashOf(fileOf(world, behind))).to.equal(before);

    limitMs = 60_000;
    world.clock.advance(60_000);
    await world.engine.snapshot(id, target);
    await world.engine.use(behind, readAll);
  });
});
