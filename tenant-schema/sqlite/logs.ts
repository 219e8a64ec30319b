import { and, desc, eq, gte, lt, type SQL, sql } from 'drizzle-orm';
import { notFound } from '../fault.ts';
import { firstIdAt } from '../ids.ts';
import { encodeCursor, idBound, pageOf } from '../page.ts';
import type { LogFilter, TenantStore, TurnContent, TurnLog } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { turnContents, turns } from './tables.ts';

export type LogVerbs = Pick<TenantStore, 'listLogs' | 'getLog'> & {
  /** Only inside the transaction that writes the turn's log row: keeps what was said in it, until the row goes. */
  addContent(turnId: string, content: TurnContent): void;
};

/** What a list is narrowed by, time apart, and has an index for, each of which ends with the id. */
const INDEXED = ['conversationId', 'user', 'status', 'configId'] as const;
type Indexed = (typeof INDEXED)[number];
/** What a list is read along: the index of a filter, or the table. */
type Along = Indexed | 'id';

/** A page looks at so many rows at most: some milliseconds, in which other lists wait. */
const LOOKED_AT_MAX = 1000;

export function logVerbs(context: StoreContext): LogVerbs {
  const { orm, prepared, preparedByShape } = context;
  const param = sql.placeholder;
  // A turn's id begins with its time, so that a time range is a range of the table and of each index.
  const inRange = [gte(turns.id, param('from')), lt(turns.id, param('to'))];
  const isAlong = (name: Indexed): SQL | undefined =>
    // Most turns are ok, and the index has none of those; SQLite takes it for the very words of its condition only.
    and(name === 'status' ? sql`${turns.status} <> 'ok'` : undefined, eq(turns[name], param(name)));
  const alongOf = (shape: string[]): Along => INDEXED.find((name) => shape.includes(`along ${name}`)) ?? 'id';

  /** The newest rows that fit. */
  const page = preparedByShape((shape) => {
    const along = alongOf(shape);
    const others = INDEXED.filter((name) => name !== along && shape.includes(name));
    return orm
      .select()
      .from(turns)
      .where(
        and(
          along === 'id' ? undefined : isAlong(along),
          // The sign keeps SQLite from the index of this column.
          ...others.map((name) => sql`+${turns[name]} = ${param(name)}`),
          ...inRange,
        ),
      )
      .orderBy(desc(turns.id))
      .limit(param('limit'))
      .prepare();
  });
  /** The last id that is looked at along one index, where there are more than `LOOKED_AT_MAX`. */
  const reach = preparedByShape((shape) => {
    const along = alongOf(shape);
    return orm
      .select({ id: turns.id })
      .from(turns)
      .where(and(along === 'id' ? undefined : isAlong(along), ...inRange))
      .orderBy(desc(turns.id))
      .limit(1)
      .offset(LOOKED_AT_MAX - 1)
      .prepare();
  });
  const one = prepared(() =>
    orm
      .select()
      .from(turns)
      .where(eq(turns.id, param('id')))
      .prepare(),
  );
  const contentOf = prepared(() =>
    orm
      .select({ input: turnContents.input, output: turnContents.output })
      .from(turnContents)
      .where(eq(turnContents.turnId, param('id')))
      .prepare(),
  );
  const insertContent = prepared(() =>
    orm
      .insert(turnContents)
      .values({ turnId: param('turnId'), input: param('input'), output: param('output') })
      .prepare(),
  );

  /**
   * Along which index the list is read, and how far. Where rows are looked at that do not fit, that is the one which
   * reaches farthest back with the same work.
   */
  const wayOf = (filters: Filters, range: IdRange): { along: Along; reachedId: string | null } => {
    const given = INDEXED.filter((name) => filters[name] !== undefined);
    const indexed: Along[] = given.filter((name) => name !== 'status' || filters.status !== 'ok');
    const ways = indexed.length > 0 ? indexed : (['id'] as const);
    const [first = 'id'] = ways;
    if (given.length === indexed.length && given.length <= 1) return { along: first, reachedId: null };
    const reached = ways.map((along) => ({
      along,
      reachedId: reach({ [`along ${along}`]: true }).get({ ...filters, ...range })?.id ?? null,
    }));
    return reached.reduce((best, way) => ((way.reachedId ?? '') < (best.reachedId ?? '') ? way : best));
  };

  return {
    listLogs: (filter, { limit, cursor }) =>
      context.read(() => {
        const filters = filtersOf(filter);
        const range = rangeOf(filter, cursor);
        const { along, reachedId } = wayOf(filters, range);
        const from = reachedId ?? range.from;
        const rows = page({ [`along ${along}`]: true, ...filters }).all({
          ...filters,
          from,
          to: range.to,
          limit: limit + 1,
        });
        const found = pageOf(rows.map(toLog), limit, ({ id }) => id);
        // Farther back there may be more: the next page goes on from there, also where this one is not full.
        if (found.nextCursor === null && reachedId !== null) found.nextCursor = encodeCursor(reachedId);
        return found;
      }),

    getLog: (id) =>
      context.read(() => {
        const row = one().get({ id });
        if (!row) throw notFound();
        return { ...toLog(row), content: contentOf().get({ id }) ?? null };
      }),

    addContent(turnId, content) {
      insertContent().run({ turnId, ...content });
    },
  };
}

type Filters = Partial<Record<Indexed, string>>;

const filtersOf = ({ configId, conversationId, user, status }: LogFilter): Filters => ({
  ...(configId !== undefined && { configId }),
  ...(conversationId !== undefined && { conversationId }),
  ...(user !== undefined && { user }),
  ...(status !== undefined && { status }),
});

/** From `from` on, up to but without `to`. */
interface IdRange {
  from: string;
  to: string;
}

function rangeOf({ since, until }: LogFilter, cursor: string | null): IdRange {
  const before = idBound(cursor);
  const end = until === undefined ? before : firstIdAt(until);
  return { from: since === undefined ? '' : firstIdAt(since), to: end < before ? end : before };
}

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
  usage: {
    inputTokens: row.inputTokens,
    outputTokens: row.outputTokens,
    cachedInputTokens: row.cachedInputTokens,
    cacheWriteInputTokens: row.cacheWriteInputTokens,
    reasoningTokens: row.reasoningTokens,
  },
  usageEstimated: row.usageEstimated,
  costMicroUsd: row.costMicroUsd,
  priceVersion: row.priceVersion,
  createdAt: row.createdAt,
});
