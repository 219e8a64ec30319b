import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import type { TenantStore, TurnLimits } from '../../tenant-schema/store.ts';
import { faultOfSync } from '../support/faults.ts';
import { contentOf } from '../support/stores.ts';
import { ask, fileOf, forge, useAll } from '../support/tenant-files.ts';
import {
  answered,
  begin,
  configContent,
  DEMAND,
  startEngine,
  type TestEngine,
  turnRequest,
} from '../support/tenants.ts';

const LIMITS: TurnLimits = {
  requestsPerMinute: 10,
  tokensPerMinute: 10_000,
  concurrentTurns: 10,
  monthlySpendMicroUsd: 10_000,
};
const KEY = { keyHash: 'a'.repeat(64), fingerprint: 'f'.repeat(64) };
const AUTO_VACUUM = 'PRAGMA auto_vacuum';
const INCREMENTAL = 2;

describe('what a tenant has used of its limits', () => {
  let world: TestEngine;
  let id: string;
  let configId: string;
  beforeEach(async () => {
    world = startEngine();
    id = await world.tenant();
    configId = (await use((store) => store.createConfig(configContent()))).id;
  });
  afterEach(() => world.stop());
  const use = <T>(work: (store: TenantStore) => T, tenant = id): Promise<T> => world.engine.use(tenant, work);
  const request = (changes = {}) =>
    turnRequest(configId, 'x', {
      limits: LIMITS,
      admit: () => ({ ...DEMAND, costMicroUsdMax: 1000, priceVersion: 'list-1' }),
      ...changes,
    });
  const spendOn = (costMicroUsd: number, changes = {}) =>
    use((store) => {
      const turn = begin(store, request(changes));
      store.finishTurn(turn, { ...answered(turn, 'ok'), costMicroUsd, answer: { said: costMicroUsd } });
      return turn;
    });
  const path = (name: string) => join(world.folder, name);
  const used = (tenant = id) =>
    use(
      (store) => ({
        spent: store.spendOfMonth().spentMicroUsd,
        reserved: store.spendOfMonth().reservedMicroUsd,
        requests: store.standing(LIMITS).requests?.remaining,
      }),
      tenant,
    );

  it('is in a copy of its file, but for what running turns hold', async () => {
    await spendOn(300, { idempotency: KEY });
    await use((store) => begin(store, request({ idempotency: { ...KEY, keyHash: 'b'.repeat(64) } })));
    await world.engine.snapshot(id, path('copy.sqlite'));
    expect(ask(path('copy.sqlite'), 'SELECT spent_micro_usd FROM spend')).to.equal(300);
    expect(ask(path('copy.sqlite'), 'SELECT reserved_micro_usd FROM spend')).to.equal(0);
    expect(ask(path('copy.sqlite'), 'SELECT group_concat(key_hash) FROM idempotency')).to.equal(KEY.keyHash);
    expect(await used()).to.deep.equal({ spent: 300, reserved: 1000, requests: 8 });
  });

  it('is not in a clone or an import, which begin at zero with the same usage', async () => {
    await spendOn(300, { idempotency: KEY });
    await use((store) => begin(store, request()));
    const usage = await use((store) => store.sumUsage('day', {}, { limit: 9, cursor: null }).data);
    const [clone, imported] = [world.ids(), world.ids()];
    await world.engine.clone(id, { id: clone, name: 'Clone' });
    await world.engine.snapshot(id, path('copy.sqlite'));
    await world.engine.importFile(path('copy.sqlite'), { id: imported, name: 'Imported' });
    for (const tenant of [clone, imported]) {
      await use((store) => {
        // The turn that still ran is closed in a copy.
        const [day] = store.sumUsage('day', {}, { limit: 9, cursor: null }).data;
        expect(day).to.deep.equal({ ...usage[0], turns: 2 });
        expect(store.spendOfMonth()).to.include({ spentMicroUsd: 0, reservedMicroUsd: 0 });
        expect(store.standing(LIMITS).requests?.remaining).to.equal(10);
        expect(store.beginTurn(request({ idempotency: KEY })).kind).to.equal('begun');
      }, tenant);
      await world.engine.quiesce(tenant);
      expect(ask(fileOf(world, tenant), 'SELECT count(*) FROM admissions')).to.equal(1);
      expect(ask(fileOf(world, tenant), 'PRAGMA integrity_check')).to.equal('ok');
    }
  });

  it('stays with the tenant where older data are put back; what was answered goes back with them', async () => {
    await spendOn(300, { idempotency: KEY });
    await world.engine.snapshot(id, path('old.sqlite'));
    const later = { ...KEY, keyHash: 'c'.repeat(64) };
    await spendOn(500, { idempotency: later });
    await world.engine.replace({ id, name: 'Acme' }, path('old.sqlite'), path('kept.sqlite'));
    expect(await used()).to.deep.equal({ spent: 800, reserved: 0, requests: 8 });
    await use((store) => {
      expect(store.beginTurn(request({ idempotency: KEY }))).to.deep.equal({
        kind: 'replayed',
        answer: { said: 300 },
      });
      const again = begin(store, request({ idempotency: later }));
      store.finishTurn(again, answered(again, 'ok'));
      const over = request({ limits: { ...LIMITS, monthlySpendMicroUsd: 1799 } });
      expect(faultOfSync(() => store.beginTurn(over)).code).to.equal('budget_exceeded');
      useAll(store);
    });
  });

  it('stays where newer data are put back, too', async () => {
    await spendOn(300);
    await world.engine.snapshot(id, path('old.sqlite'));
    await spendOn(500);
    await world.engine.snapshot(id, path('new.sqlite'));
    await world.engine.replace({ id, name: 'Acme' }, path('old.sqlite'), path('kept-1.sqlite'));
    await spendOn(50);
    await world.engine.replace({ id, name: 'Acme' }, path('new.sqlite'), path('kept-2.sqlite'));
    expect((await used()).spent).to.equal(850);
  });

  it('is what a copy says where the data that it replaces cannot be read', async () => {
    await spendOn(300);
    await world.engine.snapshot(id, path('old.sqlite'));
    await world.engine.quiesce(id);
    copyFileSync('/dev/null', fileOf(world, id));
    await world.engine.replace({ id, name: 'Acme' }, path('old.sqlite'), path('kept.sqlite'), {
      parkAt: path('parked.sqlite'),
    });
    expect((await used()).spent).to.equal(300);
  });

  it('is not touched by looking at it: a limit that nobody has used writes nothing', async () => {
    await world.engine.quiesce(id);
    const open = () => new Database(fileOf(world, id), { readonly: true });
    const before = open();
    const content = contentOf(before);
    before.close();
    await use((store) => {
      store.standing(LIMITS);
      store.spendOfMonth();
    });
    await world.engine.quiesce(id);
    const after = open();
    expect(contentOf(after)).to.deep.equal(content);
    after.close();
  });

  describe('in a file that comes in', () => {
    const arrive = async (change: string) => {
      await spendOn(300);
      await world.engine.snapshot(id, path('copy.sqlite'));
      forge(path('copy.sqlite'), change);
      const tenant = world.ids();
      await world.engine.importFile(path('copy.sqlite'), { id: tenant, name: 'Arrived' });
      await world.engine.quiesce(tenant);
      const days = 'SELECT json_group_array(json_array(day, turns, cost_micro_usd)) FROM usage_days';
      return JSON.parse(String(ask(fileOf(world, tenant), days)));
    };

    it('usage of days whose rows were removed is kept', async () => {
      const old = `INSERT INTO usage_days SELECT '2025-12-31', config_id, model, 4, 0, 1, 1, 0, 0, 0, 7, 0 FROM turns`;
      expect(await arrive(old)).to.deep.equal([
        ['2025-12-31', 4, 7],
        ['2026-01-15', 1, 300],
      ]);
    });

    it('usage is never less than its rows, nor anything on days that have all of theirs', async () => {
      const forged = `UPDATE usage_days SET turns = 0, cost_micro_usd = 1;
        INSERT INTO usage_days SELECT '2026-01-16', config_id, model, 9, 0, 1, 1, 0, 0, 0, 7, 0 FROM turns`;
      expect(await arrive(forged)).to.deep.equal([['2026-01-15', 1, 300]]);
    });

    it('contents without a log row are left behind', async () => {
      await arrive("INSERT INTO turn_contents VALUES ('019bbbbb-0000-7000-8000-000000000000', 'a', 'b')");
      const [tenant] = (await world.engine.list()).filter((other) => other !== id);
      expect(ask(fileOf(world, tenant ?? ''), 'SELECT count(*) FROM turn_contents')).to.equal(0);
    });
  });

  describe('and its pages', () => {
    it('can be given back to the disk: in a new file, a copy, a clone and an import', async () => {
      const [clone, imported] = [world.ids(), world.ids()];
      await world.engine.clone(id, { id: clone, name: 'Clone' });
      await world.engine.snapshot(id, path('copy.sqlite'));
      await world.engine.importFile(path('copy.sqlite'), { id: imported, name: 'Imported' });
      for (const tenant of [id, clone, imported]) {
        await world.engine.quiesce(tenant);
        expect(ask(fileOf(world, tenant), AUTO_VACUUM)).to.equal(INCREMENTAL);
      }
      expect(ask(path('copy.sqlite'), AUTO_VACUUM)).to.equal(INCREMENTAL);
    });

    for (const [name, mode] of Object.entries({ NONE: 0, FULL: 1 })) {
      it(`are taken in as ${name} too, and a copy of such a file is not`, async () => {
        await spendOn(300);
        await world.engine.quiesce(id);
        forge(fileOf(world, id), (db) => {
          db.pragma('writable_schema = OFF');
          db.pragma(`auto_vacuum = ${mode}`);
          db.exec('VACUUM');
        });
        expect(ask(fileOf(world, id), AUTO_VACUUM)).to.equal(mode);
        await use(useAll);
        await world.engine.quiesce(id);
        expect((await world.engine.check(id)).problem).to.equal(null);
        const before = await world.engine.stat(id);
        await world.engine.snapshot(id, path('copy.sqlite'));
        await world.engine.quiesce(id);
        expect(await world.engine.stat(id)).to.deep.equal(before);
        if (mode === 0) expect(ask(path('copy.sqlite'), AUTO_VACUUM)).to.equal(INCREMENTAL);
        const tenant = world.ids();
        await world.engine.importFile(fileOf(world, id), { id: tenant, name: 'Arrived' });
        await world.engine.quiesce(tenant);
        expect(ask(fileOf(world, tenant), AUTO_VACUUM)).to.equal(INCREMENTAL);
      });
    }
  });
});
