import { expect } from 'chai';
import type { ControlPlane } from '../../../control-plane/types.ts';
import { createLogRetention, type LogRetention } from '../../../server/operations/log-retention.ts';
import type { TenantStore } from '../../../tenant-schema/store.ts';
import { faultOf, faultOfSync } from '../../support/faults.ts';
import { chat, configContent, startEngine, type TestEngine } from '../../support/tenants.ts';

type Prune = [tenantId: string, verb: 'pruneLogs', before: number, countMax: number];

const DAY_MS = 24 * 60 * 60 * 1000;

describe('log retention', () => {
  let world: TestEngine;
  let retention: LogRetention;
  let tenants: string[];
  let infos: object[];

  const retain = (keepDays: number | null, engine: object = {}): LogRetention => {
    const listing = { data: [] as object[], nextCursor: null };
    const control = {
      getTenant: (id: string) => ({ id }),
      listTenants: () => ({ ...listing, data: tenants.map((id) => ({ id })) }),
    } as unknown as ControlPlane;
    retention = createLogRetention({
      control,
      engine: { ...world.engine, ...engine },
      clock: world.clock,
      log: { info: (fields: object) => infos.push(fields), warn: (fields: object) => infos.push(fields) },
      keepDays,
      isAlone: false,
    });
    return retention;
  };
  beforeEach(() => {
    tenants = [];
    infos = [];
    world = startEngine({ onUsage: (id) => retention.touched(id) });
    retain(2);
  });
  afterEach(async () => {
    await retention.stop();
    await world.stop();
  });

  const use = <T>(id: string, work: (store: TenantStore) => T) => world.engine.use(id, work);
  const configOf = (store: TenantStore): string =>
    store.listConfigs({ limit: 1, cursor: null }).data[0]?.id ?? store.createConfig(configContent()).id;
  const turn = (id: string, count = 1) =>
    use(id, (store) => {
      for (let index = 0; index < count; index += 1) chat(store, configOf(store), 'x', 'y');
    });
  /** The days of the log rows, newest first, counted from the first. */
  const daysOf = (id: string, start: number) =>
    use(id, (store) =>
      store
        .listLogs({}, { limit: 100, cursor: null })
        .data.map(({ createdAt }) => Math.floor(createdAt / DAY_MS) - Math.floor(start / DAY_MS)),
    );
  const tenant = async (): Promise<string> => {
    const id = await world.tenant();
    tenants.push(id);
    return id;
  };
  const quietly = { progress: async () => {}, failed: async () => {} };

  it('removes the rows of days that are kept no longer with the first turn of a day', async () => {
    const id = await tenant();
    const start = world.clock.ms;
    for (let day = 0; day < 6; day += 1) {
      await turn(id);
      await retention.settled();
      world.clock.advance(DAY_MS);
    }
    // Of the last day, at which there was a turn, and the two before.
    expect(await daysOf(id, start)).to.deep.equal([5, 4, 3]);
    expect(await use(id, (store) => store.usageByDay())).to.have.length(6);
    expect(infos).to.deep.equal([0, 1, 2].map(() => ({ tenant_id: id, removed: 1 })));
  });

  it('looks at a tenant once a day, however many turns it has', async () => {
    let looks = 0;
    retain(2, {
      useIfOpen: (tenantId: string, work: (store: TenantStore) => unknown) => {
        looks += 1;
        return world.engine.useIfOpen(tenantId, work);
      },
    });
    const id = await tenant();
    await turn(id, 5);
    await retention.settled();
    await turn(id, 5);
    await retention.settled();
    expect(looks).to.equal(1);
    world.clock.advance(DAY_MS);
    await turn(id);
    await retention.settled();
    expect(looks).to.equal(2);
  });

  it('keeps every row where the setting is 0', async () => {
    retain(null);
    const id = await tenant();
    const start = world.clock.ms;
    await turn(id);
    world.clock.advance(1000 * DAY_MS);
    await turn(id);
    await retention.settled();
    expect(await daysOf(id, start)).to.deep.equal([1000, 0]);
  });

  it('never opens a file for it, keeps none open, and goes on with the next turn', async () => {
    const id = await tenant();
    const start = world.clock.ms;
    await turn(id, 450);
    await retention.settled();
    world.clock.advance(3 * DAY_MS);
    // Closed after the second step, of 100 rows each.
    let steps = 0;
    let closed: Promise<unknown> | null = null;
    retain(2, {
      runIfOpen: async (...args: Prune) => {
        if (steps === 2) closed = world.engine.quiesce(args[0]);
        await closed;
        const result = await world.engine.runIfOpen(...args);
        if (result !== null) steps += 1;
        return result;
      },
    });
    await turn(id);
    await retention.settled();
    expect(steps).to.equal(2);
    expect(world.engine.stats().open, 'closed, and not opened again').to.equal(0);
    closed = null;
    steps = 3;
    await turn(id);
    await retention.settled();
    expect(await daysOf(id, start)).to.deep.equal([3, 3]);

    // Upkeep does not count as use.
    world.clock.advance(59_000);
    await world.engine.runIfOpen(id, 'pruneLogs', 0, 1);
    world.clock.advance(2_000);
    world.engine.closeIdle();
    expect(world.engine.stats().open).to.equal(0);
    expect(await world.engine.runIfOpen(id, 'pruneLogs', 0, 1)).to.equal(null);
  });

  it('lets others go first between two steps', async () => {
    const [id, other] = [await tenant(), await tenant()];
    await turn(id, 1000);
    await turn(other);
    await retention.settled();
    world.clock.advance(10 * DAY_MS);
    const order: string[] = [];
    retain(2, {
      runIfOpen: (...args: Prune) => {
        if (args[0] === id) order.push('step');
        return world.engine.runIfOpen(...args);
      },
    });
    await turn(id);
    for (let index = 0; index < 3; index += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      await use(other, () => order.push('other'));
    }
    await retention.settled();
    expect(order.join(' ')).to.match(/^(other )?step other step other step/);
    expect(order.filter((what) => what === 'step').length).to.be.at.least(5);
  });

  it('removes the rows of all tenants, or of one, when it is asked to', async () => {
    const [one, other] = [await tenant(), await tenant()];
    for (const id of [one, other]) await turn(id, 3);
    await retention.settled();
    world.clock.advance(2 * DAY_MS);
    const steps: string[] = [];
    const report = {
      progress: async (...counts: number[]) => {
        steps.push(counts.join('/'));
      },
      failed: async () => {},
    };
    const never = new AbortController().signal;
    expect(await retention.prune({ tenantId: one, days: 1 }, never, report)).to.deep.equal({
      tenants: 1,
      removed: 3,
      failed: [],
    });
    expect(steps[0]).to.equal('0/1/0');
    expect(steps.at(-1)).to.equal('1/1/3');
    const all = { tenantId: null, days: null };
    expect((await retention.prune(all, never, quietly)).removed, 'as set, nothing is so old').to.equal(0);
    world.clock.advance(DAY_MS);
    expect((await retention.prune(all, never, quietly)).removed).to.equal(3);
    const stopped = AbortSignal.abort();
    expect((await retention.prune(all, stopped, quietly)).tenants).to.equal(0);
  });

  it('lists the tenants whose file cannot be used, and goes on', async () => {
    const gone = await tenant();
    const there = await tenant();
    await turn(there);
    await retention.settled();
    await world.engine.destroy(gone);
    world.clock.advance(3 * DAY_MS);
    const failures: string[] = [];
    const result = await retention.prune({ tenantId: null, days: 1 }, new AbortController().signal, {
      progress: async () => {},
      failed: async ({ tenantId }) => {
        failures.push(tenantId);
      },
    });
    expect(result).to.include({ tenants: 1, removed: 1 });
    expect(result.failed.map(({ tenantId }) => tenantId)).to.deep.equal([gone]);
    expect(failures).to.deep.equal([gone]);
  });

  it('refuses a second run, and one that nothing tells how much to keep', async () => {
    const id = await tenant();
    await turn(id);
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => (release = resolve));
    const signal = new AbortController().signal;
    const running = retention.prune({ tenantId: id, days: 1 }, signal, { ...quietly, progress: () => gate });
    const refused = await faultOf(() => retention.prune({ tenantId: id, days: 1 }, signal, quietly));
    expect(refused.code).to.equal('concurrency_limited');
    release();
    await running;
    retain(null);
    const fault = faultOfSync(() => retention.requirePrunable({ tenantId: null, days: null }));
    expect(fault.details.errors?.[0]?.path).to.equal('days');
  });
});
