import { and, asc, count, desc, eq, gt, gte, lt, ne, type SQL, sql, sum } from 'drizzle-orm';
import { invalid } from '../fault.ts';
import { firstIdAt } from '../ids.ts';
import { decodeCursor, decodeIdCursor, pageOf } from '../page.ts';
import type { TenantStore, TurnLog, UsageGroup, UsageSum } from '../store.ts';
import { preparedByShape, type StoreContext } from './handle.ts';
import { turns } from './tables.ts';

export type LogVerbs = Pick<TenantStore, 'listLogs' | 'sumUsage'>;

export function logVerbs({ orm }: StoreContext): LogVerbs {
  const param = sql.placeholder;
  /** A turn's id begins with its time, so that a time range is a range of the primary key. */
  const timeRange = (shape: string[]): (SQL | undefined)[] => [
    shape.includes('since') ? gte(turns.id, param('since')) : undefined,
    shape.includes('until') ? lt(turns.id, param('until')) : undefined,
  ];

  const page = preparedByShape((shape) =>
    orm
      .select()
      .from(turns)
      .where(
        and(
          shape.includes('configId') ? eq(turns.configId, param('configId')) : undefined,
          shape.includes('conversationId') ? eq(turns.conversationId, param('conversationId')) : undefined,
          shape.includes('user') ? eq(turns.user, param('user')) : undefined,
          shape.includes('status') ? eq(turns.status, param('status')) : undefined,
          // The very words of the partial index, or SQLite would not use it.
          shape.includes('notOk') ? sql`${ne(turns.status, sql.raw("'ok'"))}` : undefined,
          ...timeRange(shape),
          shape.includes('after') ? lt(turns.id, param('after')) : undefined,
        ),
      )
      .orderBy(desc(turns.id))
      .limit(param('limit'))
      .prepare(),
  );

  const keys: Record<UsageGroup, SQL<string>> = {
    day: sql<string>`strftime('%Y-%m-%d', ${turns.createdAt} / 1000, 'unixepoch')`,
    model: sql<string>`${turns.model}`,
    config: sql<string>`${turns.configId}`,
  };
  const sums = preparedByShape((shape) => {
    const groupBy: UsageGroup = shape.includes('model')
      ? 'model'
      : shape.includes('config')
        ? 'config'
        : 'day';
    const key = keys[groupBy];
    const newestFirst = groupBy === 'day';
    const after = newestFirst ? lt(key, param('after')) : gt(key, param('after'));
    return orm
      .select({
        key,
        turns: count(),
        errors: sql<number>`count(*) filter (where ${turns.status} = 'error')`,
        inputTokens: sum(turns.inputTokens).mapWith(Number),
        outputTokens: sum(turns.outputTokens).mapWith(Number),
        cachedInputTokens: sum(turns.cachedInputTokens).mapWith(Number),
        reasoningTokens: sum(turns.reasoningTokens).mapWith(Number),
        // One unknown cost makes the sum unknown: a smaller one would pass for the whole.
        costMicroUsd: sql<
          number | null
        >`case when count(${turns.costMicroUsd}) = count(*) then sum(${turns.costMicroUsd}) end`,
      })
      .from(turns)
      .where(and(...timeRange(shape), shape.includes('after') ? after : undefined))
      .groupBy(key)
      .orderBy(newestFirst ? desc(key) : asc(key))
      .limit(param('limit'))
      .prepare();
  });

  return {
    listLogs(filter, { limit, cursor }) {
      const values = {
        configId: filter.configId,
        conversationId: filter.conversationId,
        user: filter.user,
        status: filter.status,
        notOk: filter.status !== undefined && filter.status !== 'ok' ? true : undefined,
        ...idRange(filter),
        after: cursor === null ? undefined : decodeIdCursor(cursor),
      };
      const rows = page(values).all({ ...values, limit: limit + 1 });
      return pageOf(rows.map(toLog), limit, ({ id }) => id);
    },

    sumUsage(groupBy, range, { limit, cursor }) {
      const after = cursor === null ? undefined : decodeKeyCursor(cursor, groupBy);
      const values = { ...idRange(range), after };
      const rows = sums({ [groupBy]: true, ...values }).all({ ...values, limit: limit + 1 });
      return pageOf(rows.map(toSum), limit, ({ key }) => key);
    },
  };
}

/** @throws `validation_failed` for a cursor of another grouping */
function decodeKeyCursor(cursor: string, groupBy: UsageGroup): string {
  if (groupBy === 'config') return decodeIdCursor(cursor);
  const key = decodeCursor(cursor);
  if (groupBy === 'day' && !/^\d{4}-\d\d-\d\d$/.test(key)) {
    throw invalid([{ path: 'cursor', message: 'must be a cursor from an earlier page' }]);
  }
  return key;
}

const idRange = (range: { since?: number | undefined; until?: number | undefined }) => ({
  since: range.since === undefined ? undefined : firstIdAt(range.since),
  until: range.until === undefined ? undefined : firstIdAt(range.until),
});

const usageOf = (row: {
  inputTokens: number;
  outputTokens: number;
  cachedInputTokens: number;
  reasoningTokens: number;
}) => ({
  inputTokens: row.inputTokens,
  outputTokens: row.outputTokens,
  cachedInputTokens: row.cachedInputTokens,
  reasoningTokens: row.reasoningTokens,
});

const toLog = (row: typeof turns.$inferSelect): TurnLog => ({
  id: row.id,
  requestId: row.requestId,
  configId: row.configId,
  configVersion: row.configVersion,
  conversationId: row.conversationId,
  user: row.user,
  provider: row.provider,
  model: row.model,
  status: row.status,
  errorCode: row.errorCode,
  latencyMs: row.latencyMs,
  firstTokenMs: row.firstTokenMs,
  usage: usageOf(row),
  usageEstimated: row.usageEstimated,
  costMicroUsd: row.costMicroUsd,
  createdAt: row.createdAt,
});

const toSum = (row: {
  key: string;
  turns: number;
  errors: number;
  inputTokens: number;
  outputTokens: number;
  cachedInputTokens: number;
  reasoningTokens: number;
  costMicroUsd: number | null;
}): UsageSum => ({
  key: row.key,
  turns: row.turns,
  errors: row.errors,
  usage: usageOf(row),
  costMicroUsd: row.costMicroUsd,
});
