import { and, asc, desc, gt, gte, lt, type SQL, sql, sum } from 'drizzle-orm';
import { invalid } from '../fault.ts';
import { firstIdAt } from '../ids.ts';
import { decodeCursor, decodeIdCursor, pageOf } from '../page.ts';
import type { TenantStore, TimeRange, UsageDay, UsageGroup, UsageSum } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { turns, usageDays } from './tables.ts';

/** A column of `usage_days` that is added up. */
type Counter = (typeof usageDays)[keyof Figures];

export type UsageVerbs = Pick<TenantStore, 'usageByDay' | 'sumUsage'> & {
  /** Only inside the transaction that writes the turn's log row: adds it to the sums of its day. */
  addTurn(turn: UsageDay & { configId: string; model: string }): void;
};

/** Parts of the queries, which hold nothing of a file: made once, not for each that is opened. */
const sumOfDays = {
  turns: sum(usageDays.turns).mapWith(Number),
  errors: sum(usageDays.errors).mapWith(Number),
  inputTokens: sum(usageDays.inputTokens).mapWith(Number),
  outputTokens: sum(usageDays.outputTokens).mapWith(Number),
  cachedInputTokens: sum(usageDays.cachedInputTokens).mapWith(Number),
  cacheWriteInputTokens: sum(usageDays.cacheWriteInputTokens).mapWith(Number),
  reasoningTokens: sum(usageDays.reasoningTokens).mapWith(Number),
  costMicroUsd: sum(usageDays.costMicroUsd).mapWith(Number),
  unpricedTurns: sum(usageDays.unpricedTurns).mapWith(Number),
};
const sumOfTurns = {
  turns: sql<number>`count(*)`,
  errors: sql<number>`count(*) filter (where ${turns.status} = 'error')`,
  inputTokens: sum(turns.inputTokens).mapWith(Number),
  outputTokens: sum(turns.outputTokens).mapWith(Number),
  cachedInputTokens: sum(turns.cachedInputTokens).mapWith(Number),
  cacheWriteInputTokens: sum(turns.cacheWriteInputTokens).mapWith(Number),
  reasoningTokens: sum(turns.reasoningTokens).mapWith(Number),
  costMicroUsd: sql<number>`coalesce(sum(${turns.costMicroUsd}), 0)`,
  unpricedTurns: sql<number>`count(*) filter (where ${turns.costMicroUsd} is null)`,
};

const keyOf = {
  day: usageDays.day,
  model: usageDays.model,
  config: usageDays.configId,
} as const satisfies Record<UsageGroup, unknown>;
const keyOfTurn: Record<UsageGroup, SQL<string>> = {
  day: sql<string>`strftime('%Y-%m-%d', ${turns.createdAt} / 1000, 'unixepoch')`,
  model: sql<string>`${turns.model}`,
  config: sql<string>`${turns.configId}`,
};
const plus = (column: Counter): SQL => sql`${column} + excluded.${sql.identifier(column.name)}`;

/**
 * Sums of the log rows. `usage_days` holds them by UTC day, config and model and is written with each row, so that
 * what is asked of whole days costs the same however many rows they have; only of a day that a range cuts are the rows
 * themselves read.
 */
export function usageVerbs(context: StoreContext): UsageVerbs {
  const { orm, prepared, preparedByShape } = context;
  const param = sql.placeholder;

  const add = prepared(() =>
    orm
      .insert(usageDays)
      .values({
        day: param('day'),
        configId: param('configId'),
        model: param('model'),
        turns: param('turns'),
        errors: param('errors'),
        inputTokens: param('inputTokens'),
        outputTokens: param('outputTokens'),
        cachedInputTokens: param('cachedInputTokens'),
        cacheWriteInputTokens: param('cacheWriteInputTokens'),
        reasoningTokens: param('reasoningTokens'),
        costMicroUsd: param('costMicroUsd'),
        unpricedTurns: param('unpricedTurns'),
      })
      .onConflictDoUpdate({
        target: [usageDays.day, usageDays.configId, usageDays.model],
        set: {
          turns: plus(usageDays.turns),
          errors: plus(usageDays.errors),
          inputTokens: plus(usageDays.inputTokens),
          outputTokens: plus(usageDays.outputTokens),
          cachedInputTokens: plus(usageDays.cachedInputTokens),
          cacheWriteInputTokens: plus(usageDays.cacheWriteInputTokens),
          reasoningTokens: plus(usageDays.reasoningTokens),
          costMicroUsd: plus(usageDays.costMicroUsd),
          unpricedTurns: plus(usageDays.unpricedTurns),
        },
      })
      .prepare(),
  );

  const byDay = prepared(() =>
    orm
      .select({ day: usageDays.day, ...sumOfDays })
      .from(usageDays)
      .where(gte(usageDays.day, param('since')))
      .groupBy(usageDays.day)
      .orderBy(asc(usageDays.day))
      .prepare(),
  );

  const inWholeDays = preparedByShape((shape) => {
    const group = groupIn(shape);
    const key = keyOf[group];
    const after = group === 'day' ? lt(key, param('after')) : gt(key, param('after'));
    return orm
      .select({ key, ...sumOfDays })
      .from(usageDays)
      .where(
        and(
          gte(usageDays.day, param('from')),
          lt(usageDays.day, param('to')),
          shape.includes('after') ? after : undefined,
        ),
      )
      .groupBy(key)
      .orderBy(group === 'day' ? desc(key) : asc(key))
      .limit(param('limit'))
      .prepare();
  });
  const inCutDay = preparedByShape((shape) => {
    const group = groupIn(shape);
    const key = keyOfTurn[group];
    const after = group === 'day' ? lt(key, param('after')) : gt(key, param('after'));
    return orm
      .select({ key, ...sumOfTurns })
      .from(turns)
      .where(
        and(
          // A turn's id begins with its time, so that a time range is a range of the primary key.
          gte(turns.id, param('from')),
          lt(turns.id, param('to')),
          shape.includes('after') ? after : undefined,
        ),
      )
      .groupBy(key)
      .orderBy(group === 'day' ? desc(key) : asc(key))
      .limit(param('limit'))
      .prepare();
  });

  return {
    addTurn({ usage, ...turn }) {
      add().run({ ...turn, ...usage });
    },

    usageByDay: (since = '') => byDay().all({ since }).map(toDay),

    sumUsage(group, range, { limit, cursor }) {
      const after = cursor === null ? undefined : decodeKeyCursor(cursor, group);
      const { whole, cut } = partsOf(range);
      const shape = { [group]: true, after };
      // Each part gives the first keys of its own, one more than the page has: those of the page are among them.
      const rows = context.read(() => [
        ...(whole === null ? [] : inWholeDays(shape).all({ ...whole, after, limit: limit + 1 })),
        ...cut.flatMap(({ from, to }) =>
          inCutDay(shape).all({ from: firstIdAt(from), to: firstIdAt(to), after, limit: limit + 1 }),
        ),
      ]);
      const sums = merge(rows);
      // As SQLite orders text, by its bytes: the next page begins where this one ends.
      sums.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
      if (group === 'day') sums.reverse();
      return pageOf(sums.slice(0, limit + 1).map(toSum), limit, ({ key }) => key);
    },
  };
}

const groupIn = (shape: string[]): UsageGroup =>
  shape.includes('model') ? 'model' : shape.includes('config') ? 'config' : 'day';

interface Figures {
  turns: number;
  errors: number;
  inputTokens: number;
  outputTokens: number;
  cachedInputTokens: number;
  cacheWriteInputTokens: number;
  reasoningTokens: number;
  costMicroUsd: number;
  unpricedTurns: number;
}

/** The figures under each key; one that several parts have is summed. */
function merge(rows: readonly (Figures & { key: string })[]): (Figures & { key: string })[] {
  const byKey = new Map<string, Figures & { key: string }>();
  for (const row of rows) {
    const known = byKey.get(row.key);
    if (!known) {
      byKey.set(row.key, { ...row });
      continue;
    }
    known.turns += row.turns;
    known.errors += row.errors;
    known.inputTokens += row.inputTokens;
    known.outputTokens += row.outputTokens;
    known.cachedInputTokens += row.cachedInputTokens;
    known.cacheWriteInputTokens += row.cacheWriteInputTokens;
    known.reasoningTokens += row.reasoningTokens;
    known.costMicroUsd += row.costMicroUsd;
    known.unpricedTurns += row.unpricedTurns;
  }
  return [...byKey.values()];
}

const DAY_MS = 24 * 60 * 60 * 1000;
/** The last moment that has a day of four figures; no turn is later. */
const TIME_MAX = 253_402_300_799_999;
const dayOf = (epochMs: number): string => new Date(epochMs).toISOString().slice(0, 10);

interface Parts {
  /** Days, from `from` on, up to but without `to`. Null where the range holds no whole day. */
  whole: { from: string; to: string } | null;
  /** Parts of days, in epoch milliseconds, likewise. */
  cut: { from: number; to: number }[];
}

/** A range as the whole days in it and the parts of days at its ends. */
function partsOf({ since = 0, until = TIME_MAX + 1 }: TimeRange): Parts {
  const from = Math.max(since, 0);
  const to = Math.min(until, TIME_MAX + 1);
  if (from >= to) return { whole: null, cut: [] };
  const firstDay = Math.ceil(from / DAY_MS) * DAY_MS;
  const lastDay = Math.floor(to / DAY_MS) * DAY_MS;
  if (firstDay > lastDay) return { whole: null, cut: [{ from, to }] };
  return {
    // Past the last day of four figures there is nothing; "~" comes after every day.
    whole:
      firstDay < lastDay ? { from: dayOf(firstDay), to: lastDay > TIME_MAX ? '~' : dayOf(lastDay) } : null,
    cut: [
      { from, to: firstDay },
      { from: lastDay, to },
    ].filter((part) => part.from < part.to),
  };
}

/** @throws `validation_failed` for a cursor of another grouping */
function decodeKeyCursor(cursor: string, group: UsageGroup): string {
  if (group === 'config') return decodeIdCursor(cursor);
  const key = decodeCursor(cursor);
  if (group === 'day' && !/^\d{4}-\d\d-\d\d$/.test(key)) {
    throw invalid([{ path: 'cursor', message: 'must be a cursor from an earlier page' }]);
  }
  return key;
}

const usageOf = (row: Figures) => ({
  inputTokens: row.inputTokens,
  outputTokens: row.outputTokens,
  cachedInputTokens: row.cachedInputTokens,
  cacheWriteInputTokens: row.cacheWriteInputTokens,
  reasoningTokens: row.reasoningTokens,
});

const toDay = (row: Figures & { day: string }): UsageDay => ({
  day: row.day,
  turns: row.turns,
  errors: row.errors,
  usage: usageOf(row),
  costMicroUsd: row.costMicroUsd,
  unpricedTurns: row.unpricedTurns,
});

const toSum = (row: Figures & { key: string }): UsageSum => ({
  key: row.key,
  turns: row.turns,
  errors: row.errors,
  usage: usageOf(row),
  // One unknown cost makes the sum unknown: a smaller one would pass for the whole.
  costMicroUsd: row.unpricedTurns > 0 ? null : row.costMicroUsd,
});
