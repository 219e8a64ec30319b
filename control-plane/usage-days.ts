import { setImmediate } from 'node:timers/promises';
import { and, desc, eq, gt, lt, ne, type SQL, sql } from 'drizzle-orm';
import { invalid } from '../tenant-schema/fault.ts';
import { isId } from '../tenant-schema/ids.ts';
import { decodeCursor, idBound, pageOf } from '../tenant-schema/page.ts';
import type { UsageDay } from '../tenant-schema/store.ts';
import type { ControlDatabase } from './database.ts';
import { tenants, usageDays, usageDayTotals, usageState } from './tables.ts';
import type { AdminUsageSum, UsageFilter, UsageVerbs } from './types.ts';

const FIGURES = [
  'turns',
  'errors',
  'inputTokens',
  'outputTokens',
  'cachedInputTokens',
  'cacheWriteInputTokens',
  'reasoningTokens',
  'costMicroUsd',
  'unpricedTurns',
] as const;
type Figure = (typeof FIGURES)[number];
type Figures = Record<Figure, number>;

const DAY = /^\d{4}-\d\d-\d\d$/;
/**
 * More than any tenant uses on a day, and less by far than what overflows when it is summed: the file of one tenant,
 * which may come from elsewhere, must not spoil the sums of all.
 */
const FIGURE_MAX = 1e15;

/** Whose days are summed in one go while nothing else runs: a few milliseconds for a month of them. */
const TENANTS_AT_ONCE = 100;

/** What tenants used, by UTC day: a roll-up of what each tenant's own file knows. */
export function createUsageDays({ db, write }: ControlDatabase): UsageVerbs {
  const param = sql.placeholder;
  const each = <T>(of: (figure: Figure) => T) =>
    Object.fromEntries(FIGURES.map((figure) => [figure, of(figure)])) as Record<Figure, T>;
  const add = db
    .insert(usageDays)
    .values({ tenantId: param('tenantId'), day: param('day'), ...each((figure) => param(figure)) })
    .onConflictDoUpdate({
      target: [usageDays.tenantId, usageDays.day],
      set: each((figure) => sql`${usageDays[figure]} + ${sql.raw(`excluded.${usageDays[figure].name}`)}`),
    })
    .prepare();
  const remove = db
    .delete(usageDays)
    .where(eq(usageDays.tenantId, param('tenantId')))
    .prepare();
  /** One whose purge has begun is as good as gone. */
  const isThere = db
    .select({ id: tenants.id })
    .from(tenants)
    .where(and(eq(tenants.id, param('id')), eq(tenants.purging, false)))
    .prepare();

  const within = (
    day: SQL | typeof usageDays.day | typeof usageDayTotals.day,
    { since, until }: UsageFilter,
  ) => [
    since === undefined ? undefined : sql`${day} >= ${since}`,
    until === undefined ? undefined : sql`${day} < ${until}`,
  ];
  const bySum = each((figure) => sql<number>`sum(${usageDays[figure]})`);

  return {
    addUsage: (rows) =>
      write(() => {
        for (const { tenantId, usage } of rows) {
          if (isThere.get({ id: tenantId })) add.run({ tenantId, day: usage.day, ...figuresOf(usage) });
        }
      }),

    replaceUsage: (tenantId, days) =>
      write(() => {
        if (!isThere.get({ id: tenantId })) return;
        remove.run({ tenantId });
        for (const usage of days) add.run({ tenantId, day: usage.day, ...figuresOf(usage) });
      }),

    listUsage(filter, { limit, cursor }) {
      const after = cursor === null ? null : decodeDayCursor(cursor);
      const rows = db
        .select()
        .from(usageDays)
        .where(
          and(
            filter.tenantId === undefined ? undefined : eq(usageDays.tenantId, filter.tenantId),
            ...within(usageDays.day, filter),
            // With a row value: two ranges joined by "or" would be read as two.
            after === null
              ? undefined
              : sql`(${usageDays.day}, ${usageDays.tenantId}) < (${after.day}, ${after.tenantId})`,
          ),
        )
        .orderBy(desc(usageDays.day), desc(usageDays.tenantId))
        .limit(limit + 1)
        .all();
      return pageOf(
        rows.map((row) => toSum(row, row.tenantId, row.day)),
        limit,
        ({ day, tenantId }) => `${day} ${tenantId}`,
      );
    },

    sumUsageByDay(filter, { limit, cursor }) {
      const before = cursor === null ? undefined : decodeCursor(cursor);
      if (before !== undefined && !DAY.test(before)) throw cursorFault();
      const { tenantId } = filter;
      const table = tenantId === undefined ? usageDayTotals : usageDays;
      const rows = db
        .select({ day: table.day, ...each((figure) => table[figure]) })
        .from(table)
        .where(
          and(
            tenantId === undefined ? undefined : eq(usageDays.tenantId, tenantId),
            ...within(table.day, filter),
            before === undefined ? undefined : lt(table.day, before),
          ),
        )
        .orderBy(desc(table.day))
        .limit(limit + 1)
        .all();
      return pageOf(
        rows.map((row) => toSum(row, tenantId ?? null, row.day)),
        limit,
        ({ day }) => day ?? '',
      );
    },

    sumUsageByTenant(filter, { limit, cursor }) {
      // Tenant by tenant, which stops when the page is full; from the days, every row of the range would be read.
      const rows = db
        .select({ tenantId: tenants.id, ...bySum })
        .from(tenants)
        .crossJoin(usageDays)
        .where(
          and(
            eq(usageDays.tenantId, tenants.id),
            lt(tenants.id, idBound(cursor)),
            filter.tenantId === undefined ? undefined : eq(tenants.id, filter.tenantId),
            ...within(usageDays.day, filter),
          ),
        )
        .groupBy(tenants.id)
        .orderBy(desc(tenants.id))
        .limit(limit + 1)
        .all();
      return pageOf(
        rows.map((row) => toSum(row, row.tenantId, null)),
        limit,
        ({ tenantId }) => tenantId ?? '',
      );
    },

    async topTenants(filter, by, limit) {
      const figure = by === 'turns' ? 'turns' : 'costMicroUsd';
      let best: (Figures & { tenantId: string })[] = [];
      let after = '';
      for (;;) {
        const rows = db
          .select({ tenantId: tenants.id, ...bySum })
          .from(tenants)
          .crossJoin(usageDays)
          .where(
            and(
              eq(usageDays.tenantId, tenants.id),
              gt(tenants.id, after),
              ne(tenants.status, 'deleted'),
              filter.tenantId === undefined ? undefined : eq(tenants.id, filter.tenantId),
              ...within(usageDays.day, filter),
            ),
          )
          .groupBy(tenants.id)
          .orderBy(tenants.id)
          .limit(TENANTS_AT_ONCE)
          .all();
        best = [...best, ...rows].sort((one, other) => other[figure] - one[figure]).slice(0, limit);
        after = rows.at(-1)?.tenantId ?? '';
        if (rows.length < TENANTS_AT_ONCE) return best.map((row) => toSum(row, row.tenantId, null));
        await setImmediate();
      }
    },

    usageState: () =>
      db
        .select({ complete: usageState.complete, completeUntil: usageState.completeUntil })
        .from(usageState)
        .get() ?? { complete: false, completeUntil: 0 },
    setUsageState: (state) => {
      write(() => db.update(usageState).set(state).run());
    },
  };
}

const cursorFault = () => invalid([{ path: 'cursor', message: 'must be a cursor from an earlier page' }]);

/** @throws `validation_failed` for a cursor of another list */
function decodeDayCursor(cursor: string): { day: string; tenantId: string } {
  const [day = '', tenantId = ''] = decodeCursor(cursor).split(' ');
  if (!DAY.test(day) || !isId(tenantId)) throw cursorFault();
  return { day, tenantId };
}

function figuresOf({ usage, ...day }: UsageDay): Figures {
  const figures = { ...day, ...usage };
  const bounded = FIGURES.map((figure) => [figure, Math.min(figures[figure], FIGURE_MAX)]);
  return Object.fromEntries(bounded) as Figures;
}

const toSum = (row: Figures, tenantId: string | null, day: string | null): AdminUsageSum => ({
  tenantId,
  day,
  turns: row.turns,
  errors: row.errors,
  usage: {
    inputTokens: row.inputTokens,
    outputTokens: row.outputTokens,
    cachedInputTokens: row.cachedInputTokens,
    cacheWriteInputTokens: row.cacheWriteInputTokens,
    reasoningTokens: row.reasoningTokens,
  },
  costMicroUsd: row.costMicroUsd,
  unpricedTurns: row.unpricedTurns,
});
