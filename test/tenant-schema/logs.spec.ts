import { expect } from 'chai';
import fc from 'fast-check';
import { createIds } from '../../tenant-schema/ids.ts';
import type { Listing, LogFilter, Page, TenantStore, TurnLog } from '../../tenant-schema/store.ts';
import { faultOfSync } from '../support/faults.ts';
import { insertTurns, type WatchedStore, watchStore } from '../support/plans.ts';
import {
  answered,
  begin,
  configContent,
  failed,
  ManualClock,
  startEngine,
  type TestEngine,
  turnRequest,
} from '../support/tenants.ts';

const START = Date.UTC(2026, 0, 1);
const DAY_MS = 24 * 60 * 60 * 1000;
const firstPage: Page = { limit: 100, cursor: null };

/** Every page of a list, each with the rows that it gave. */
function pagesOf(list: (page: Page) => Listing<TurnLog>, limit = 100): TurnLog[][] {
  const pages: TurnLog[][] = [];
  let cursor: string | null = null;
  do {
    const page: Listing<TurnLog> = list({ limit, cursor });
    pages.push(page.data);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return pages;
}

/** Each filter given or not, with every status. */
const EVERY_FILTER: LogFilter[] = [undefined, 'ok' as const, 'error' as const].flatMap((status) =>
  [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => ({
    ...(status && { status }),
    ...(bits & 1 && { configId: 'c-1' }),
    ...(bits & 2 && { conversationId: 'v-1' }),
    ...(bits & 4 && { user: 'u-1' }),
  })),
);

describe('logs', () => {
  let world: TestEngine;
  let tenantId: string;
  let opened: WatchedStore | null;
  beforeEach(async () => {
    world = startEngine();
    tenantId = await world.tenant();
    opened = null;
  });
  afterEach(async () => {
    opened?.close();
    await world.stop();
  });
  const watch = async (): Promise<WatchedStore> => {
    await world.engine.quiesce(tenantId);
    opened = watchStore(world, `${world.folder}/${tenantId}.db`);
    return opened;
  };

  describe('a list', () => {
    it('comes from an index, whatever it is narrowed by', async () => {
      const { store, plansOf } = await watch();
      const cursor = Buffer.from(world.ids()).toString('base64url');
      for (const filter of EVERY_FILTER) {
        for (const range of [{}, { since: START }, { since: START, until: START + 1 }]) {
          for (const page of [firstPage, { limit: 5, cursor }]) {
            for (const { sql, plan } of plansOf(() => store.listLogs({ ...filter, ...range }, page))) {
              expect(plan, sql).to.have.length(1);
              expect(plan[0], sql).to.match(/^SEARCH turns USING .*id>\? AND id<\?\)$/);
            }
          }
        }
      }
    });

    it('goes along the index of what it is narrowed by', async () => {
      const { store, plansOf } = await watch();
      const indexOf = (filter: LogFilter) =>
        plansOf(() => store.listLogs(filter, firstPage)).map(
          ({ plan }) => /turns_\w+|PRIMARY KEY/.exec(plan[0] ?? '')?.[0],
        );
      expect(indexOf({})).to.deep.equal(['PRIMARY KEY']);
      expect(indexOf({ configId: 'c' })).to.deep.equal(['turns_by_config']);
      expect(indexOf({ conversationId: 'v' })).to.deep.equal(['turns_by_conversation']);
      expect(indexOf({ user: 'u' })).to.deep.equal(['turns_by_user']);
      expect(indexOf({ status: 'aborted' })).to.deep.equal(['turns_not_ok']);
    });

    it('takes the index that reaches farthest back, where several would do', async () => {
      const { store, db, plansOf } = await watch();
      const ids = createIds(new ManualClock(START));
      const row = (index: number, status: string) => ({
        id: ids(),
        configId: index % 800 === 0 ? 'c-2' : 'c-1',
        user: index % 2 === 0 ? 'u-1' : 'u-2',
        status,
        createdAt: START,
      });
      insertTurns(
        db,
        Array.from({ length: 8000 }, (_, index) => row(index, index % 4 === 0 ? 'error' : 'ok')),
      );
      const wayTo = (filter: LogFilter, count: number) =>
        plansOf(() => expect(store.listLogs(filter, firstPage).data).to.have.length(count)).at(-1)?.plan[0];
      expect(wayTo({ configId: 'c-1', user: 'u-1', status: 'error' }, 100)).to.include('turns_not_ok');
      expect(wayTo({ configId: 'c-2', user: 'u-1', status: 'error' }, 10)).to.include('turns_by_config');
      expect(wayTo({ configId: 'c-2', user: 'u-1' }, 10)).to.include('turns_by_config');
      expect(wayTo({ conversationId: 'c-2', user: 'u-1' }, 10)).to.include('turns_by_conversation');
    });

    it('looks at some rows only, and goes on from there on the next page, without a gap or a double', async () => {
      const { store, db } = await watch();
      const clock = new ManualClock(START);
      const ids = createIds(clock);
      const rows = Array.from({ length: 9000 }, (_, index) => {
        clock.advance(1000);
        return {
          id: ids(),
          // The two rarely meet.
          configId: index % 3000 === 17 ? 'c-1' : 'c-2',
          user: index % 2 === 1 || index % 1000 === 0 ? 'u-1' : null,
          status: index % 4 === 0 ? 'error' : 'ok',
          createdAt: clock.ms,
        };
      });
      insertTurns(db, rows);
      const idsOf = (fits: (row: (typeof rows)[number]) => boolean) =>
        rows
          .filter(fits)
          .map(({ id }) => id)
          .reverse();

      const pages = pagesOf((page) => store.listLogs({ configId: 'c-2', user: 'u-1', status: 'ok' }, page));
      expect(pages.flat().map(({ id }) => id)).to.deep.equal(
        idsOf(({ configId, user, status }) => configId === 'c-2' && user === 'u-1' && status === 'ok'),
      );
      // 2,250 rows of the one and 4,509 of the other, and 9 of both: a page looks at 1,000 of them.
      const sparse = pagesOf((page) => store.listLogs({ status: 'error', user: 'u-1' }, page));
      expect(sparse).to.have.length(3);
      expect(sparse.flat().map(({ id }) => id)).to.deep.equal(
        idsOf(({ status, user }) => status === 'error' && user === 'u-1'),
      );
      const rare = pagesOf((page) => store.listLogs({ status: 'ok', user: 'u-1', configId: 'c-1' }, page));
      expect(rare).to.have.length(1);
      expect(rare.flat()).to.have.length(3);
      const since = rows[4000]?.createdAt ?? 0;
      expect(
        pagesOf((page) => store.listLogs({ status: 'ok', since }, page), 7)
          .flat()
          .map(({ id }) => id),
      ).to.deep.equal(idsOf(({ status, createdAt }) => status === 'ok' && createdAt >= since));
    });

    it('has exactly the rows that fit, for any rows, filter, range and page', async () => {
      const { store, db } = await watch();
      const clock = new ManualClock(START);
      const ids = createIds(clock);
      const pick = (...values: string[]) => fc.constantFrom(...values);
      const rowOf = fc.record({
        configId: pick('c-1', 'c-2'),
        conversationId: pick('v-1', 'v-2'),
        user: fc.option(pick('u-1', 'u-2')),
        status: pick('ok', 'ok', 'error', 'aborted'),
        afterMs: fc.nat(3),
      });
      const filterOf = fc.record({
        filter: fc.constantFrom(...EVERY_FILTER),
        since: fc.option(fc.nat(60), { nil: undefined }),
        until: fc.option(fc.nat(60), { nil: undefined }),
        limit: fc.integer({ min: 1, max: 9 }),
      });
      fc.assert(
        fc.property(
          fc.array(rowOf, { maxLength: 40 }),
          fc.array(filterOf, { minLength: 10, maxLength: 10 }),
          (drafts, asked) => {
            db.exec('DELETE FROM turns');
            const start = clock.ms;
            const rows = drafts.map(({ afterMs, ...row }) => {
              clock.advance(afterMs);
              return { ...row, id: ids(), createdAt: clock.ms };
            });
            insertTurns(db, rows);
            for (const { filter, since = 0, until = 1e6, limit } of asked) {
              const range = { since: start + since, until: start + until };
              const fits = rows.filter(
                (row) =>
                  row.createdAt >= range.since &&
                  row.createdAt < range.until &&
                  (filter.configId === undefined || filter.configId === row.configId) &&
                  (filter.conversationId === undefined || filter.conversationId === row.conversationId) &&
                  (filter.user === undefined || filter.user === row.user) &&
                  (filter.status === undefined || filter.status === row.status),
              );
              const found = pagesOf((page) => store.listLogs({ ...filter, ...range }, page), limit).flat();
              expect(found.map(({ id }) => id)).to.deep.equal(fits.map(({ id }) => id).reverse());
            }
            clock.advance(10);
          },
        ),
        { numRuns: 40 },
      );
    });
  });

  const use = <T>(work: (store: TenantStore) => T) => world.engine.use(tenantId, work);
  const content = { input: 'Grüezi', output: 'Wie kann ich helfen? 😀' };
  /** A turn whose content is kept, or not. */
  const turn = (store: TenantStore, configId: string, kept: typeof content | null = content): string => {
    const begun = begin(store, turnRequest(configId, 'x'));
    store.finishTurn(begun, { ...answered(begun, 'y'), content: kept });
    return begun.id;
  };

  it('gives one row with what was said in its turn, where that was kept', async () => {
    await use((store) => {
      const configId = store.createConfig(configContent()).id;
      const with_ = turn(store, configId);
      const without = turn(store, configId, null);
      const broken = begin(store, turnRequest(configId, 'x'));
      store.failTurn(broken, { ...failed, content: { input: 'x', output: '' } });

      expect(store.getLog(with_).content).to.deep.equal(content);
      expect(store.getLog(without).content).to.equal(null);
      expect(store.getLog(broken.id)).to.deep.include({
        status: 'error',
        content: { input: 'x', output: '' },
      });
      const { content: _, ...row } = store.getLog(with_);
      expect(store.listLogs({}, firstPage).data[2]).to.deep.equal(row);
      expect(faultOfSync(() => store.getLog(world.ids())).code).to.equal('not_found');
      // A turn under way has no row yet.
      const open = begin(store, turnRequest(configId, 'x'));
      expect(faultOfSync(() => store.getLog(open.id)).code).to.equal('not_found');
    });
  });

  describe('pruning', () => {
    /** Steps until there is nothing to do; gives what each removed. */
    const prune = (store: TenantStore, before: number, countMax = 200): number[] => {
      const steps: number[] = [];
      for (let isMore = true; isMore; ) {
        expect(store.hasLogsToPrune(before)).to.equal(true);
        const step = store.pruneLogs(before, countMax);
        steps.push(step.removed);
        isMore = step.isMore;
      }
      return steps;
    };

    it('removes what is older, with its content, and nothing else', async () => {
      await use((store) => {
        const configId = store.createConfig(configContent()).id;
        const old = turn(store, configId);
        world.clock.advance(1);
        const limit = world.clock.ms;
        const exact = turn(store, configId);
        const usage = store.usageByDay();
        const conversations = store.listConversations({}, firstPage).data;

        expect(prune(store, limit)[0]).to.equal(1);
        expect(faultOfSync(() => store.getLog(old)).code).to.equal('not_found');
        expect(store.getLog(exact).content).to.deep.equal(content);
        expect(store.usageByDay()).to.deep.equal(usage);
        expect(store.listConversations({}, firstPage).data).to.deep.equal(conversations);
        expect(store.hasLogsToPrune(limit)).to.equal(false);
        expect(store.pruneLogs(limit, 200)).to.deep.equal({ removed: 0, isMore: false });
      });
      const { db } = await watch();
      expect(db.prepare('SELECT count(*) FROM turn_contents').pluck().get()).to.equal(1);
    });

    it('takes so many rows at a time, oldest first, and fewer where much was said in them', async () => {
      const { store, db, plansOf } = await watch();
      const ids = createIds(new ManualClock(START));
      const rows = Array.from({ length: 25 }, () => ({ id: ids(), configId: 'c-1', createdAt: START }));
      insertTurns(db, rows);
      const [first] = plansOf(() =>
        expect(store.pruneLogs(START + 1, 10)).to.deep.equal({ removed: 10, isMore: true }),
      );
      expect(first?.plan[0]).to.match(/^SEARCH turns USING PRIMARY KEY/);
      expect(store.listLogs({}, firstPage).data.map(({ id }) => id)).to.deep.equal(
        rows
          .slice(10)
          .map(({ id }) => id)
          .reverse(),
      );
      const keep = db.prepare('INSERT INTO turn_contents (turn_id, input, output) VALUES (?, ?, ?)');
      for (const { id } of rows.slice(10, 15)) keep.run(id, 'x'.repeat(700_000), 'y');
      expect(store.pruneLogs(START + 1, 10).removed).to.equal(1);
      expect(prune(store, START + 1, 10).filter((removed) => removed > 0)).to.deep.equal([1, 1, 1, 10, 1]);
    });

    it('gives the room back to the disk little by little', async () => {
      const { store, db } = await watch();
      expect(db.pragma('auto_vacuum', { simple: true }), 'as it was made').to.equal(2);
      const ids = createIds(new ManualClock(START));
      insertTurns(
        db,
        Array.from({ length: 5000 }, () => ({ id: ids(), configId: 'c-1', createdAt: START })),
      );
      const pages = () => Number(db.pragma('page_count', { simple: true }));
      const before = pages();
      const steps = prune(store, START + 1, 1000);
      expect(steps.slice(0, 5)).to.deep.equal([1000, 1000, 1000, 1000, 1000]);
      expect(steps.slice(5), 'the rest of the steps give pages back').to.have.length.greaterThan(3);
      expect(pages()).to.be.lessThan(before / 4);
      expect(db.pragma('freelist_count', { simple: true })).to.equal(0);
      expect(db.pragma('integrity_check', { simple: true })).to.equal('ok');
      expect(db.pragma('synchronous', { simple: true }), 'as it was').to.equal(1);
    });

    it('leaves a file that was made without room for that as large as it is', async () => {
      const { store, db } = await watch();
      db.pragma('journal_mode = DELETE');
      db.pragma('auto_vacuum = NONE');
      db.exec('VACUUM');
      const ids = createIds(new ManualClock(START));
      insertTurns(
        db,
        Array.from({ length: 500 }, () => ({ id: ids(), configId: 'c-1', createdAt: START })),
      );
      const before = Number(db.pragma('page_count', { simple: true }));
      expect(prune(store, START + DAY_MS, 500)).to.deep.equal([500]);
      expect(db.pragma('page_count', { simple: true })).to.equal(before);
      expect(Number(db.pragma('freelist_count', { simple: true }))).to.be.greaterThan(10);
    });
  });
});
