import { and, eq, isNotNull, lte, sql } from 'drizzle-orm';
import { Fault } from '../fault.ts';
import type { IdempotencyKey, JsonObject } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { idempotency } from './tables.ts';

/** What is kept under the keys of requests that may come again. All but `find` only inside a transaction that may write. */
export interface Idempotency {
  /**
   * What the request was answered; null where it is new.
   * @param reap closes the turn that the key was taken by, if it is lost; false where it runs
   * @throws `idempotency_conflict`, `idempotency_in_progress`
   */
  find(key: IdempotencyKey, now: number, reap: (turnId: string) => boolean): JsonObject | null;
  /**
   * Removes a few of the answers that are not given again any more. With each turn, also where no keys come any more; where
   * there were none, it looks again in a minute.
   */
  expire(now: number): void;
  take(key: IdempotencyKey, turnId: string, now: number): void;
  /** At the end of the turn that has taken the key: keeps what it has answered, or frees the key. */
  settle(keyHash: string, turnId: string, answer: JsonObject | null): void;
}

/** An answer is given again for so long, from the beginning of its turn. */
const KEPT_MS = 24 * 60 * 60 * 1000;
/** To look for nothing takes a turn some four per cent of its time. */
const NONE_EXPIRED_MS = 60_000;
/**
 * More than come in at a time, so that what is kept stays bounded without a sweep. In the text of the query: one whose
 * LIMIT is bound SQLite compiles anew at each run, which takes it 7 µs of 9.
 */
const EXPIRED_AT_A_TIME = sql.raw('8');

export function idempotencyOf({ orm, prepared }: StoreContext): Idempotency {
  const param = sql.placeholder;
  const ofTurn = and(eq(idempotency.keyHash, param('keyHash')), eq(idempotency.turnId, param('turnId')));
  const byKey = prepared(() =>
    orm
      .select()
      .from(idempotency)
      .where(eq(idempotency.keyHash, param('keyHash')))
      .prepare(),
  );
  const insert = prepared(() =>
    orm
      .insert(idempotency)
      .values({
        keyHash: param('keyHash'),
        fingerprint: param('fingerprint'),
        turnId: param('turnId'),
        createdAt: param('now'),
      })
      .prepare(),
  );
  const keep = prepared(() =>
    orm
      .update(idempotency)
      .set({ answer: sql`${param('answer')}` })
      .where(ofTurn)
      .prepare(),
  );
  const free = prepared(() => orm.delete(idempotency).where(ofTurn).prepare());
  const expired = prepared(() =>
    orm
      .delete(idempotency)
      .where(
        sql`rowid IN (SELECT rowid FROM idempotency WHERE ${and(
          lte(idempotency.createdAt, param('until')),
          isNotNull(idempotency.answer),
        )} ORDER BY created_at LIMIT ${EXPIRED_AT_A_TIME})`,
      )
      .prepare(),
  );
  let noneAt = -Infinity;

  return {
    find({ keyHash, fingerprint }, now, reap) {
      const row = byKey().get({ keyHash });
      if (!row) return null;
      const isOver = row.answer === null ? reap(row.turnId) : row.createdAt <= now - KEPT_MS;
      if (isOver) {
        free().run(row);
        return null;
      }
      if (row.fingerprint !== fingerprint) {
        throw new Fault(
          'idempotency_conflict',
          'The Idempotency-Key has been used for another request; use a new one.',
        );
      }
      if (row.answer === null) {
        throw new Fault(
          'idempotency_in_progress',
          'The request with this Idempotency-Key is still being answered; try again.',
          { details: { retryAfterSeconds: 1 } },
        );
      }
      return JSON.parse(row.answer) as JsonObject;
    },

    expire(now) {
      // Also where the clock has gone back.
      if (now >= noneAt && now < noneAt + NONE_EXPIRED_MS) return;
      if (expired().run({ until: now - KEPT_MS }).changes === 0) noneAt = now;
    },

    take(key, turnId, now) {
      insert().run({ ...key, turnId, now });
    },

    settle(keyHash, turnId, answer) {
      if (answer === null) free().run({ keyHash, turnId });
      else keep().run({ keyHash, turnId, answer: JSON.stringify(answer) });
    },
  };
}
