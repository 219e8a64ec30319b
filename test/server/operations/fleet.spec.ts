import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createFleet, type Quarantined } from '../../../server/operations/fleet.ts';
import { createQuarantine } from '../../../server/operations/quarantine.ts';
import { NEXT_MIGRATIONS, takeBack } from '../../crash/next-schema.ts';
import { faultOf } from '../../support/faults.ts';
import { startEngine, type TestEngine } from '../../support/tenants.ts';
import { createGate } from '../../support/upstream.ts';

const NEVER = new AbortController().signal;
const UNKNOWN = '018f0000-0000-7000-8000-000000000000';

describe('the list of files that cannot be migrated', () => {
  let world: TestEngine;
  let ids: string[];
  let path: string;
  /** Which migrations fail. */
  let bad: Set<string>;
  let told: Quarantined[];

  beforeEach(async () => {
    world = startEngine({ migrations: NEXT_MIGRATIONS });
    ids = [await world.tenant(), await world.tenant(), await world.tenant()];
    for (const id of ids) {
      await world.engine.quiesce(id);
      takeBack(join(world.folder, `${id}.db`));
    }
    path = join(world.folder, 'quarantine.json');
    bad = new Set();
    told = [];
  });
  afterEach(() => world.stop());

  const listed = () => JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>;
  const report = {
    progress: async () => {},
    failed: async (tenant: Quarantined) => {
      expect(listed(), 'it is on the disk before it is told').to.have.property(tenant.tenantId);
      told.push(tenant);
    },
  };
  const migrateOne = async (id: string): Promise<void> => {
    if (bad.has(id)) throw new Error(`no room for ${id}`);
    await world.engine.migrate(id);
  };
  const fleetWith = (one = migrateOne, quarantine = createQuarantine(path)) =>
    createFleet({ engine: world.engine, quarantine, migrateOne: one });

  it('has each failure at once, and keeps what a run that was cut off did not come to', async () => {
    const [first = '', second = '', third = ''] = ids;
    bad = new Set([first, third]);
    await fleetWith().migrate(1, NEVER, report);
    expect(told.map(({ tenantId }) => tenantId)).to.deep.equal([first, third]);
    expect(Object.keys(listed())).to.deep.equal([first, third]);

    takeBack(join(world.folder, `${second}.db`));
    bad = new Set([second]);
    const cut = new AbortController();
    const result = await fleetWith(async (id) => {
      if (id === second) cut.abort();
      await migrateOne(id);
    }).migrate(1, cut.signal, report);
    expect([result.migrated, result.failed.length]).to.deep.equal([1, 1]);
    expect(Object.entries(listed())).to.have.deep.members([
      [second, `no room for ${second}`],
      [third, `no room for ${third}`],
    ]);

    bad.clear();
    expect((await fleetWith().migrate(2, NEVER, report)).migrated).to.equal(2);
    expect(listed()).to.deep.equal({});
  });

  it('is written by one run at a time', async () => {
    const gate = createGate();
    const fleet = fleetWith(async (id) => {
      await gate.pass();
      await migrateOne(id);
    });
    const running = fleet.migrate(3, NEVER, report);
    expect(await faultOf(() => fleet.migrate(1, NEVER, report))).to.include({ code: 'concurrency_limited' });
    gate.open();
    expect((await running).migrated).to.equal(3);
    expect((await fleet.migrate(1, NEVER, report)).current).to.equal(3);
  });

  it('has no place for a tenant that was purged, whatever a run under way says of it later', async () => {
    const [first = ''] = ids;
    const quarantine = createQuarantine(path);
    const list = new Map([
      [first, 'a reason'],
      [UNKNOWN, 'another'],
    ]);
    await quarantine.write(list);
    await Promise.all([quarantine.write(list), quarantine.forget([first]), quarantine.write(list)]);
    expect(listed()).to.deep.equal({ [UNKNOWN]: 'another' });
    await quarantine.write(list);
    expect(listed()).to.deep.equal({ [UNKNOWN]: 'another' });
  });

  it('counts as empty where it is lost or damaged', async () => {
    expect(await createQuarantine(path).read()).to.deep.equal(new Map());
    writeFileSync(path, '{"half');
    expect((await fleetWith().status()).quarantined).to.deep.equal([]);
    await createQuarantine(path).forget([UNKNOWN]);
    rmSync(path);
  });
});
