import { asc, desc, eq, gt, gte, lt, sql } from 'drizzle-orm';
import { firstIdAt } from '../ids.ts';
import type { LimitStanding, TokenUsage, TurnDemand, TurnLimits, WindowStanding } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { admissionState, admissions, openTurns, turns } from './tables.ts';

/** Which of the two rolling limits a turn has hit. */
export interface WindowRefusal {
  limit: 'requests_per_minute' | 'tokens_per_minute';
  /** Until the same turn would be admitted, where nothing else is used; null where it never would be. */
  waitMs: number | null;
}

/** The last minute at one moment. */
export interface AdmissionWindow {
  readonly now: number;
  lastSeq: number;
  lastAt: number | null;
  count: number;
  tokens: number;
  /** When the last turn came that has used tokens. */
  lastTokensAt: () => number | null;
}

export interface Admissions {
  /** Whether the clock went back behind the rows. They are then brought up in a transaction that a refusal does not undo. */
  isAhead(limits: TurnLimits, now: number): boolean;
  /**
   * Only inside a transaction that may write: makes the rows those of the last minute. Null, and none, where no limit
   * asks for them.
   */
  bringUp(limits: TurnLimits, now: number): AdmissionWindow | null;
  /** What keeps a turn out at this moment. */
  refusals(window: AdmissionWindow, limits: TurnLimits, demand: TurnDemand): WindowRefusal[];
  /** Takes a turn in, and what it may come to use. @returns its place */
  add(window: AdmissionWindow, turnId: string, limits: TurnLimits, demand: TurnDemand): number;
  /** Puts what a turn has used in the place of what it might have. */
  settle(turnId: string, seq: number, usage: TokenUsage): void;
  /** The same without a write. */
  look(limits: TurnLimits, now: number): AdmissionWindow | null;
}

/** So long a turn counts: one begun at 0 is out of the window at 60,000. */
export const WINDOW_MS = 60_000;

const isAsked = (limits: TurnLimits): boolean =>
  limits.requestsPerMinute !== null || limits.tokensPerMinute !== null;

/** How the limits stand in a window. */
export function standingIn(window: AdmissionWindow | null, limits: TurnLimits): LimitStanding {
  if (!window) return { requests: null, tokens: null };
  const of = (limit: number | null, used: number, lastAt: () => number | null): WindowStanding | null => {
    if (limit === null) return null;
    const at = used === 0 ? null : lastAt();
    const resetMs = at === null ? 0 : Math.min(at, window.now) + WINDOW_MS - window.now;
    return { limit, remaining: Math.max(0, limit - used), resetMs };
  };
  return {
    requests: of(limits.requestsPerMinute, window.count, () => window.lastAt),
    tokens: of(limits.tokensPerMinute, window.tokens, window.lastTokensAt),
  };
}

/**
 * The turns of the last minute. Their numbers have no gap and their times do not fall, so that how many there are, and
 * when the window has room for one more, is known from one or two rows; old rows are looked at once, when they go.
 */
export function admissionsOf({ orm, prepared }: StoreContext): Admissions {
  const param = sql.placeholder;
  const state = prepared(() => orm.select().from(admissionState).where(eq(admissionState.id, 1)).prepare());
  const setState = prepared(() =>
    orm
      .update(admissionState)
      .set({ recording: sql`${param('recording')}`, tokens: sql`${param('tokens')}` })
      .prepare(),
  );
  const addTokens = prepared(() =>
    orm
      .update(admissionState)
      .set({ tokens: sql`${admissionState.tokens} + ${param('tokens')}` })
      .prepare(),
  );
  // The first row is asked for without a LIMIT, which drizzle binds, and for which SQLite would compile the query anew
  // at each run: read in the order of the table, there is nothing after it to be done for nothing.
  const last = prepared(() => orm.select().from(admissions).orderBy(desc(admissions.seq)).prepare());
  const lastWithTokens = prepared(() =>
    orm
      .select({ at: admissions.at })
      .from(admissions)
      .where(gt(admissions.tokens, 0))
      .orderBy(desc(admissions.seq))
      .prepare(),
  );
  /** The first that still counts; it looks at those before it and at no other. */
  const firstAfter = prepared(() =>
    orm
      .select({ seq: admissions.seq })
      .from(admissions)
      .where(gt(admissions.at, param('past')))
      .orderBy(asc(admissions.seq))
      .prepare(),
  );
  const bySeq = prepared(() =>
    orm
      .select()
      .from(admissions)
      .where(eq(admissions.seq, param('seq')))
      .prepare(),
  );
  const tokensBefore = prepared(() =>
    orm
      .select({ tokens: sql<number>`coalesce(sum(${admissions.tokens}), 0)` })
      .from(admissions)
      .where(lt(admissions.seq, param('seq')))
      .prepare(),
  );
  /** When so many tokens have left the window. */
  const momentWithout = prepared(() =>
    orm
      .select({ at: sql<number>`at` })
      .from(sql`(SELECT seq, at, sum(tokens) OVER (ORDER BY seq) AS gone FROM admissions)`)
      .where(sql`gone >= ${param('tokens')}`)
      .orderBy(sql`seq`)
      .limit(1)
      .prepare(),
  );
  const removeBefore = prepared(() =>
    orm
      .delete(admissions)
      .where(lt(admissions.seq, param('seq')))
      .prepare(),
  );
  const insert = prepared(() =>
    orm
      .insert(admissions)
      .values({ seq: param('seq'), turnId: param('turnId'), at: param('at'), tokens: param('tokens') })
      .prepare(),
  );
  const setTokens = prepared(() =>
    orm
      .update(admissions)
      .set({ tokens: sql`${param('tokens')}` })
      .where(eq(admissions.seq, param('seq')))
      .prepare(),
  );
  const clampTimes = prepared(() =>
    orm
      .update(admissions)
      .set({ at: sql`${param('now')}` })
      .where(gt(admissions.at, param('now')))
      .prepare(),
  );
  const setPlace = prepared(() =>
    orm
      .update(openTurns)
      .set({ admission: sql`${param('seq')}` })
      .where(eq(openTurns.id, param('turnId')))
      .prepare(),
  );
  // A turn's id begins with its time.
  const ended = prepared(() =>
    orm
      .select({
        turnId: turns.id,
        at: turns.createdAt,
        tokens: sql<number>`${turns.inputTokens} + ${turns.outputTokens}`,
      })
      .from(turns)
      .where(gte(turns.id, param('from')))
      .prepare(),
  );
  const open = prepared(() =>
    orm
      .select({ turnId: openTurns.id, at: openTurns.createdAt, tokens: sql<number>`0` })
      .from(openTurns)
      .where(gte(openTurns.id, param('from')))
      .prepare(),
  );

  interface Row {
    turnId: string;
    at: number;
    tokens: number;
  }
  /** The turns of the last minute where they were not kept. What those will use that still run is not known. */
  const lookBack = (now: number): Row[] => {
    const from = firstIdAt(now - WINDOW_MS + 1);
    return [...ended().all({ from }), ...open().all({ from })].sort((a, b) => (a.turnId < b.turnId ? -1 : 1));
  };

  const windowOf = (rows: Row[], now: number): AdmissionWindow => ({
    now,
    lastSeq: rows.length,
    lastAt: rows.at(-1)?.at ?? null,
    count: rows.length,
    tokens: rows.reduce((sum, { tokens }) => sum + tokens, 0),
    lastTokensAt: () => rows.findLast(({ tokens }) => tokens > 0)?.at ?? null,
  });
  /** The rows that still count, of those that are kept. */
  const view = (now: number): AdmissionWindow & { firstSeq: number; expiredTokens: number } => {
    const lastRow = last().get();
    const lastSeq = lastRow?.seq ?? 0;
    const firstSeq = firstAfter().get({ past: now - WINDOW_MS })?.seq ?? lastSeq + 1;
    const expiredTokens = tokensBefore().get({ seq: firstSeq })?.tokens ?? 0;
    return {
      now,
      lastSeq,
      lastAt: lastRow?.at ?? null,
      firstSeq,
      expiredTokens,
      count: lastSeq - firstSeq + 1,
      tokens: (state().get()?.tokens ?? 0) - expiredTokens,
      lastTokensAt: () => lastWithTokens().get()?.at ?? null,
    };
  };

  const isRecording = (): boolean => state().get()?.recording ?? false;
  const begin = (now: number): AdmissionWindow => {
    const rows = lookBack(now).map((row) => ({ ...row, at: Math.min(row.at, now) }));
    rows.forEach((row, index) => {
      insert().run({ ...row, seq: index + 1 });
      setPlace().run({ turnId: row.turnId, seq: index + 1 });
    });
    const window = windowOf(rows, now);
    setState().run({ recording: 1, tokens: window.tokens });
    return window;
  };
  const expire = (now: number): AdmissionWindow => {
    const window = view(now);
    if ((window.lastAt ?? 0) > now) clampTimes().run({ now });
    if (removeBefore().run({ seq: window.firstSeq }).changes > 0) {
      addTokens().run({ tokens: -window.expiredTokens });
    }
    return window;
  };
  const forget = (): void => {
    removeBefore().run({ seq: Number.MAX_SAFE_INTEGER });
    setState().run({ recording: 0, tokens: 0 });
  };

  return {
    isAhead(limits, now) {
      if (!isAsked(limits)) return false;
      const latest = isRecording() ? last().get() : lookBack(now).at(-1);
      return (latest?.at ?? 0) > now;
    },

    bringUp(limits, now) {
      const recording = isRecording();
      if (isAsked(limits)) return recording ? expire(now) : begin(now);
      if (recording) forget();
      return null;
    },

    refusals({ now, lastSeq, count, tokens }, { requestsPerMinute, tokensPerMinute }, { inputTokens }) {
      const found: WindowRefusal[] = [];
      const waitFor = (row: { at: number } | undefined): number | null =>
        row === undefined ? null : Math.min(row.at, now) + WINDOW_MS - now;
      if (requestsPerMinute !== null && count >= requestsPerMinute) {
        // Where none is allowed, no row is in the way.
        const row =
          requestsPerMinute === 0 ? undefined : bySeq().get({ seq: lastSeq - requestsPerMinute + 1 });
        found.push({ limit: 'requests_per_minute', waitMs: waitFor(row) });
      }
      if (tokensPerMinute !== null && tokens + inputTokens > tokensPerMinute) {
        const row =
          inputTokens > tokensPerMinute
            ? undefined
            : momentWithout().get({ tokens: tokens + inputTokens - tokensPerMinute });
        found.push({ limit: 'tokens_per_minute', waitMs: waitFor(row) });
      }
      return found;
    },

    add(window, turnId, { tokensPerMinute }, { inputTokens, outputTokensMax }) {
      const left = tokensPerMinute === null ? Infinity : tokensPerMinute - window.tokens;
      // Not more than is left: a turn after it would be kept out by what this one will hardly use.
      const tokens = Math.min(inputTokens + outputTokensMax, left);
      window.lastSeq += 1;
      window.lastAt = window.now;
      window.count += 1;
      window.tokens += tokens;
      if (tokens > 0) window.lastTokensAt = () => window.now;
      insert().run({ seq: window.lastSeq, turnId, at: window.now, tokens });
      addTokens().run({ tokens });
      return window.lastSeq;
    },

    settle(turnId, seq, usage) {
      const row = bySeq().get({ seq });
      // Its minute is over, or rows were not kept meanwhile.
      if (row?.turnId !== turnId) return;
      const tokens = usage.inputTokens + usage.outputTokens;
      setTokens().run({ seq, tokens });
      addTokens().run({ tokens: tokens - row.tokens });
    },

    look(limits, now) {
      if (!isAsked(limits)) return null;
      return isRecording() ? view(now) : windowOf(lookBack(now), now);
    },
  };
}
