import { expect } from 'chai';
import fc from 'fast-check';
import type { Listing, Page, TimeRange, TurnLog, UsageGroup, UsageSum } from '../../tenant-schema/store.ts';
import { watchStore } from '../support/plans.ts';
import {
  answered,
  begin,
  chat,
  configContent,
  failed,
  startEngine,
  type TestEngine,
  turnRequest,
} from '../support/tenants.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const START = Date.UTC(2026, 1, 27);
const all: Page = { limit: 100, cursor: null };

function everyPage<T>(list: (page: Page) => Listing<T>, limit: number): T[] {
  const rows: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Listing<T> = list({ limit, cursor });
    expect(page.data.length).to.be.at.most(limit);
    rows.push(...page.data);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return rows;
}

/** The sums, worked out row by row. */
function sumRows(rows: TurnLog[], group: UsageGroup, { since = 0, until = Number.MAX_VALUE }: TimeRange) {
  const keyOf = {
    day: (row: TurnLog) => new Date(row.createdAt).toISOString().slice(0, 10),
    model: (row: TurnLog) => row.model,
    config: (row: TurnLog) => row.configId,
  }[group];
  const sums = new Map<string, UsageSum>();
  for (const row of rows.filter(({ createdAt }) => createdAt >= since && createdAt < until)) {
    const key = keyOf(row);
    const sum: UsageSum = sums.get(key) ?? {
      key,
      turns: 0,
      errors: 0,
      usage: {
        inputTokens: 0,
        outputTokens: 0,
        cachedInputTokens: 0,
        cacheWriteInputTokens: 0,
        reasoningTokens: 0,
      },
      costMicroUsd: 0,
    };
    sum.turns += 1;
    sum.errors += row.status === 'error' ? 1 : 0;
    for (const name of Object.keys(sum.usage) as (keyof UsageSum['usage'])[])
      sum.usage[name] += row.usage[name];
    sum.costMicroUsd =
      sum.costMicroUsd === null || row.costMicroUsd === null ? null : sum.costMicroUsd + row.costMicroUsd;
    sums.set(key, sum);
  }
  const sorted = [...sums.values()].sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
  return group === 'day' ? sorted.reverse() : sorted;
}

/** Moments about the ends of days, where a mistake would show. */
const moment = fc.oneof(
  fc.integer({ min: 0, max: 6 * DAY_MS }),
  fc.tuple(fc.integer({ min: 0, max: 6 }), fc.integer({ min: -2, max: 2 })).map(([d, ms]) => d * DAY_MS + ms),
);
const tokens = fc.nat(1000);
const turnOf = fc.record({
  at: moment.map((ms) => Math.max(ms, 0)),
  config: fc.nat(2),
  end: fc.constantFrom('ok', 'error', 'aborted'),
  costMicroUsd: fc.option(fc.nat(5000), { freq: 8 }),
  usage: fc.record({
    inputTokens: tokens,
    outputTokens: tokens,
    cachedInputTokens: tokens,
    cacheWriteInputTokens: tokens,
    reasoningTokens: tokens,
  }),
});
const rangeOf = fc.record({
  since: fc.option(moment, { nil: undefined }),
  until: fc.option(moment, { nil: undefined }),
});

describe('usage', () => {
  let world: TestEngine;
  beforeEach(() => {
    world = startEngine();
  });
  afterEach(() => world.stop());

  it('is what the log rows sum up to, for any turns, range, grouping and page', async () => {
    const questions = fc.array(
      fc.record({
        range: rangeOf,
        group: fc.constantFrom<UsageGroup>('day', 'model', 'config'),
        limit: fc.integer({ min: 1, max: 5 }),
      }),
      { minLength: 20, maxLength: 20 },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(turnOf, { maxLength: 40 }), questions, async (turns, asked) => {
        // A moment before every turn, whatever the clock has come to.
        world.clock.ms += 10 * DAY_MS - (world.clock.ms % DAY_MS);
        const start = world.clock.ms;
        const id = await world.tenant();
        await world.engine.use(id, (store) => {
          // Names that UTF-16 and UTF-8 do not order in the same way.
          const configs = ['model-a', '\u{10348}', '\uffee'].map(
            (model) =>
              store.createConfig(configContent({ name: model, modelConfig: { provider: 'demo', model } })).id,
          );
          for (const { at, config, end, ...figures } of turns.toSorted((a, b) => a.at - b.at)) {
            world.clock.ms = start + at;
            const turn = begin(store, turnRequest(configs[config] ?? '', 'x'));
            if (end === 'ok') store.finishTurn(turn, { ...answered(turn, 'y'), ...figures });
            else store.failTurn(turn, { ...failed, ...figures, status: end });
          }
          const rows = everyPage((page) => store.listLogs({}, page), 100);
          expect(rows).to.have.length(turns.length);
          for (const { range, group, limit } of asked) {
            const shifted = {
              ...(range.since !== undefined && { since: start + range.since }),
              ...(range.until !== undefined && { until: start + range.until }),
            };
            const found = everyPage((page) => store.sumUsage(group, shifted, page), limit);
            expect(found).to.deep.equal(sumRows(rows, group, shifted));
          }
          const days = store.usageByDay();
          expect(
            days.map(({ day, turns: count, costMicroUsd, unpricedTurns, ...rest }) => ({
              key: day,
              turns: count,
              ...rest,
              costMicroUsd: unpricedTurns > 0 ? null : costMicroUsd,
            })),
          ).to.deep.equal(sumRows(rows, 'day', {}).reverse());
          const [, second] = days;
          if (second) expect(store.usageByDay(second.day)).to.deep.equal(days.slice(1));
        });
      }),
      { numRuns: 25 },
    );
  });

  it('reads one row for each day, config and model, and no log row, however many turns there were', async () => {
    const few = await world.tenant();
    const many = await world.tenant();
    for (let day = 0; day < 3; day += 1) {
      world.clock.ms = START + day * DAY_MS;
      for (const [id, turns] of [
        [few, 10],
        [many, 300],
      ] as const) {
        await world.engine.use(id, (store) => {
          const {
            data: [known],
          } = store.listConfigs(all);
          const configId = known?.id ?? store.createConfig(configContent()).id;
          for (let turn = 0; turn < turns; turn += 1) chat(store, configId, 'x', 'y');
        });
      }
    }
    for (const id of [few, many]) {
      await world.engine.quiesce(id);
      const { store, db, plansOf, close } = watchStore(world, `${world.folder}/${id}.db`);
      expect(db.prepare('SELECT count(*) FROM usage_days').pluck().get()).to.equal(3);
      const range = { since: START, until: START + 31 * DAY_MS };
      for (const group of ['day', 'model', 'config'] as const) {
        const [sum] = store.sumUsage(group, range, all).data;
        const cursor = Buffer.from(sum?.key ?? '').toString('base64url');
        const plans = plansOf(() => store.sumUsage(group, range, { limit: 5, cursor }));
        expect(plans).to.have.length(1);
        // A day's cursor narrows the range by itself.
        expect(plans[0]?.plan[0]).to.match(/^SEARCH usage_days USING PRIMARY KEY \(day>\? AND day<\?\)$/);
      }
      const [byDay] = plansOf(() => store.usageByDay('2026-01-01'));
      expect(byDay?.plan).to.deep.equal(['SEARCH usage_days USING PRIMARY KEY (day>?)']);
      close();
    }
  });

  it('reads the log rows of nothing but the days that a range cuts', async () => {
    const id = await world.tenant();
    await world.engine.use(id, (store) => {
      store.createConfig(configContent());
    });
    await world.engine.quiesce(id);
    const watched = watchStore(world, `${world.folder}/${id}.db`);
    const cut = { since: START + 1, until: START + 5 * DAY_MS + 1 };
    const plans = watched.plansOf(() => watched.store.sumUsage('day', cut, all));
    expect(plans.map(({ plan }) => plan[0])).to.deep.equal([
      'SEARCH usage_days USING PRIMARY KEY (day>? AND day<?)',
      'SEARCH turns USING PRIMARY KEY (id>? AND id<?)',
    ]);
    watched.close();
  });

  it('takes a page of another grouping, and a range that holds nothing, for what they are', async () => {
    const id = await world.tenant();
    await world.engine.use(id, (store) => {
      const configId = store.createConfig(configContent()).id;
      chat(store, configId, 'x', 'y');
      const sums = (range: TimeRange) => store.sumUsage('day', range, all).data;
      const now = world.clock.ms;
      expect(sums({ since: now + 1 })).to.deep.equal([]);
      expect(sums({ since: now + 1, until: now })).to.deep.equal([]);
      expect(sums({ since: -1e15, until: 1e15 })).to.have.length(1);
      const { nextCursor } = store.sumUsage('model', {}, { limit: 1, cursor: null });
      expect(nextCursor).to.equal(null);
      for (const group of ['day', 'config'] as const) {
        const cursor = Buffer.from('demo-1').toString('base64url');
        expect(() => store.sumUsage(group, {}, { limit: 1, cursor }))
          .to.throw()
          .with.property('code', 'validation_failed');
      }
    });
  });

  it('keeps what a config had used when the config, its conversations and its log rows are gone', async () => {
    const id = await world.tenant();
    await world.engine.use(id, (store) => {
      const configId = store.createConfig(configContent()).id;
      const { conversationId } = chat(store, configId, 'x', 'y');
      const before = store.sumUsage('config', {}, all).data;
      const logs = store.listLogs({}, all).data;
      store.deleteConversation(conversationId, () => false);
      store.deleteConfig(configId);
      expect(store.listLogs({ configId }, all).data).to.deep.equal(logs);
      expect(store.sumUsage('config', {}, all).data).to.deep.equal(before);
      store.pruneLogs(world.clock.ms + 1, 100);
      expect(store.listLogs({}, all).data).to.deep.equal([]);
      expect(store.sumUsage('config', {}, all).data).to.deep.equal(before);
      expect(before[0]).to.include({ key: configId, turns: 1 });
    });
  });
});
