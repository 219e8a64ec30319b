import { expect } from 'chai';
import type { AdminUsageSum } from '../../control-plane/types.ts';
import type { Listing, Page, UsageDay } from '../../tenant-schema/store.ts';
import { ADMIN, createFixture, type Fixture, faultOf } from './setup.ts';

const FIRST_PAGE = { limit: 100, cursor: null };

const usageDay = (day: string, turns = 1, changes: Partial<UsageDay> = {}): UsageDay => ({
  day,
  turns,
  errors: 0,
  usage: {
    inputTokens: 10 * turns,
    outputTokens: 5 * turns,
    cachedInputTokens: turns,
    cacheWriteInputTokens: 2 * turns,
    reasoningTokens: 0,
  },
  costMicroUsd: 7 * turns,
  unpricedTurns: 0,
  ...changes,
});

describe('the usage of all tenants', () => {
  let fixture: Fixture;
  let first: string;
  let second: string;
  beforeEach(() => {
    fixture = createFixture();
    first = fixture.addTenant().tenant.id;
    second = fixture.addTenant().tenant.id;
  });
  afterEach(() => fixture.remove());

  const told = ({ tenantId, day, turns }: AdminUsageSum) => [day, tenantId, turns];
  const everything = (list: (page: Page) => Listing<AdminUsageSum>, limit: number) => {
    const rows: AdminUsageSum[] = [];
    let cursor: string | null = null;
    do {
      const page = list({ limit, cursor });
      rows.push(...page.data);
      cursor = page.nextCursor;
    } while (cursor !== null);
    return rows;
  };
  const add = (tenantId: string, ...days: UsageDay[]) =>
    fixture.control.addUsage(days.map((usage) => ({ tenantId, usage })));
  const days = () => fixture.control.sumUsageByDay({}, FIRST_PAGE).data.map(({ day, turns }) => [day, turns]);

  it('names the tenants with the most turns and with the highest cost, but no deleted one', async () => {
    add(first, usageDay('2026-01-01', 9), usageDay('2026-01-02', 1, { costMicroUsd: 100 }));
    add(second, usageDay('2026-01-02', 2));
    const top = async (by: 'turns' | 'cost', filter = {}, limit = 5) =>
      (await fixture.control.topTenants(filter, by, limit)).map(({ tenantId, turns }) => [tenantId, turns]);
    expect(await top('turns')).to.deep.equal([
      [first, 10],
      [second, 2],
    ]);
    const since = { since: '2026-01-02' };
    expect(await top('turns', since)).to.deep.equal([
      [second, 2],
      [first, 1],
    ]);
    expect(await top('cost', since, 1)).to.deep.equal([[first, 1]]);
    expect(await top('turns', { tenantId: second })).to.deep.equal([[second, 2]]);
    fixture.sql("UPDATE tenants SET status = 'deleted' WHERE id = ?", first);
    expect(await top('cost')).to.deep.equal([[second, 2]]);
  });

  it('finds the first of many tenants, and lets others run meanwhile', async () => {
    for (let made = 0; made < 250; made += 1) {
      const { id } = fixture.addTenant().tenant;
      add(id, usageDay('2026-01-01', made));
    }
    let turns = 0;
    const tick = (): void => {
      turns += 1;
      others = setImmediate(tick);
    };
    let others = setImmediate(tick);
    try {
      const top = await fixture.control.topTenants({}, 'turns', 3);
      expect(top.map((sum) => sum.turns)).to.deep.equal([249, 248, 247]);
      expect(turns).to.be.greaterThan(0);
    } finally {
      clearImmediate(others);
    }
  });

  it('adds up by tenant and day, and is listed newest day first, page by page', () => {
    add(first, usageDay('2026-01-01'), usageDay('2026-01-02', 2), usageDay('2026-01-02', 3));
    add(second, usageDay('2026-01-02', 4));
    const expected = [
      ['2026-01-02', second, 4],
      ['2026-01-02', first, 5],
      ['2026-01-01', first, 1],
    ];
    for (const limit of [1, 2, 3, 100]) {
      expect(everything((page) => fixture.control.listUsage({}, page), limit).map(told)).to.deep.equal(
        expected,
      );
    }
    const { data } = fixture.control.listUsage({ tenantId: first, since: '2026-01-02' }, FIRST_PAGE);
    expect(data).to.deep.equal([{ tenantId: first, ...usageDay('2026-01-02', 5) }]);
    expect(fixture.control.listUsage({ until: '2026-01-02' }, FIRST_PAGE).data.map(told)).to.deep.equal([
      ['2026-01-01', first, 1],
    ]);
  });

  it('is summed by day and by tenant to the same figures, whatever the pages', () => {
    add(first, usageDay('2026-01-01', 1, { unpricedTurns: 1 }), usageDay('2026-01-03', 2));
    add(second, usageDay('2026-01-01', 4), usageDay('2026-01-02', 8));
    for (const limit of [1, 2, 100]) {
      const byDay = everything((page) => fixture.control.sumUsageByDay({}, page), limit);
      expect(byDay.map(told)).to.deep.equal([
        ['2026-01-03', null, 2],
        ['2026-01-02', null, 8],
        ['2026-01-01', null, 5],
      ]);
      expect(byDay[2]).to.deep.include({ unpricedTurns: 1, costMicroUsd: 35 });
      const byTenant = everything((page) => fixture.control.sumUsageByTenant({}, page), limit);
      expect(byTenant.map(told)).to.deep.equal([
        [null, second, 12],
        [null, first, 3],
      ]);
    }
    const range = { since: '2026-01-02', until: '2026-01-03' };
    expect(fixture.control.sumUsageByTenant(range, FIRST_PAGE).data.map(told)).to.deep.equal([
      [null, second, 8],
    ]);
    expect(fixture.control.sumUsageByDay({ tenantId: first }, FIRST_PAGE).data.map(told)).to.deep.equal([
      ['2026-01-03', first, 2],
      ['2026-01-01', first, 1],
    ]);
  });

  it("is replaced for one tenant, and the days' sums follow", () => {
    add(first, usageDay('2026-01-01'), usageDay('2026-01-02'));
    add(second, usageDay('2026-01-02', 4));
    fixture.control.replaceUsage(first, [usageDay('2026-01-03', 9)]);
    expect(fixture.control.listUsage({ tenantId: first }, FIRST_PAGE).data.map(told)).to.deep.equal([
      ['2026-01-03', first, 9],
    ]);
    expect(days()).to.deep.equal([
      ['2026-01-03', 9],
      ['2026-01-02', 4],
    ]);
  });

  it('stays of a deleted tenant and goes with a purged one, also what comes late', () => {
    add(first, usageDay('2026-01-01'), usageDay('2026-01-02'));
    add(second, usageDay('2026-01-02', 4));
    fixture.control.deleteTenant(first, ADMIN);
    expect(fixture.control.sumUsageByTenant({ tenantId: first }, FIRST_PAGE).data.map(told)).to.deep.equal([
      [null, first, 2],
    ]);
    fixture.control.beginPurge(first, ADMIN);
    fixture.control.forgetTenant(first);
    // Not even while there is still a row of it.
    add(first, usageDay('2026-01-05'));
    fixture.control.endPurge(first, ADMIN);
    add(first, usageDay('2026-01-05'));
    fixture.control.replaceUsage(first, [usageDay('2026-01-05')]);
    expect(fixture.control.listUsage({}, FIRST_PAGE).data.map(told)).to.deep.equal([
      ['2026-01-02', second, 4],
    ]);
    expect(days()).to.deep.equal([['2026-01-02', 4]]);
  });

  it('is not spoilt for all by a tenant whose file, from elsewhere, says whatever it likes', () => {
    const most = usageDay('2026-01-01', 9e18);
    fixture.control.replaceUsage(first, [{ ...most, costMicroUsd: 9e18 }]);
    for (let turn = 0; turn < 3; turn += 1) add(second, usageDay('2026-01-01', 2));
    expect(fixture.control.sumUsageByTenant({ tenantId: second }, FIRST_PAGE).data.map(told)).to.deep.equal([
      [null, second, 6],
    ]);
    expect(days()).to.deep.equal([['2026-01-01', 1e15 + 6]]);
  });

  it('refuses a cursor of another list', () => {
    add(first, usageDay('2026-01-01'), usageDay('2026-01-02'));
    const { control } = fixture;
    const cursors = [control.listUsage, control.sumUsageByDay].map(
      (list) => list({}, { limit: 1, cursor: null }).nextCursor,
    );
    expect(cursors).not.to.include(null);
    const [ofRows = '', ofDays = ''] = cursors;
    for (const [list, cursor] of [
      [control.listUsage, ofDays],
      [control.sumUsageByDay, ofRows],
      [control.sumUsageByTenant, ofDays],
      [control.listUsage, 'x'],
    ] as const) {
      expect(faultOf(() => list({}, { limit: 1, cursor })).code).to.equal('validation_failed');
    }
  });

  it('reads no more rows than a page needs', () => {
    const plan = (sql: string) =>
      (fixture.sql(`EXPLAIN QUERY PLAN ${sql}`) as { detail: string }[])
        .map(({ detail }) => detail)
        .join('; ');
    const range = "day >= '2026-01-01' AND day < '2026-02-01'";
    for (const where of [
      '1',
      range,
      "(day, tenant_id) < ('2026-01-05', 'x')",
      `${range} AND (day, tenant_id) < ('2026-01-05', 'x')`,
    ]) {
      const found = plan(
        `SELECT * FROM usage_days WHERE ${where} ORDER BY day DESC, tenant_id DESC LIMIT 21`,
      );
      expect(found, where)
        .to.match(/USING INDEX usage_by_day/)
        .and.not.match(/TEMP/);
      const ofOne = plan(
        `SELECT * FROM usage_days WHERE tenant_id = 't' AND ${where} ORDER BY day DESC, tenant_id DESC LIMIT 21`,
      );
      expect(ofOne, where)
        .to.match(/SEARCH .* \(tenant_id=\?/)
        .and.not.match(/TEMP/);
    }
    const byTenant = plan(
      `SELECT tenants.id, sum(turns) FROM tenants CROSS JOIN usage_days
         WHERE usage_days.tenant_id = tenants.id AND tenants.id < '~' AND ${range}
         GROUP BY tenants.id ORDER BY tenants.id DESC LIMIT 21`,
    );
    expect(byTenant)
      .to.match(/^SEARCH tenants .*SEARCH usage_days .*\(tenant_id=\?/)
      .and.not.match(/TEMP/);
  });
});
