import { invalid } from './fault.ts';
import { isId } from './ids.ts';
import type { Listing } from './store.ts';

const cursorFault = () => invalid([{ path: 'cursor', message: 'must be a cursor from an earlier page' }]);

/** The opaque form of the key of a page's last row. */
export const encodeCursor = (key: string): string => Buffer.from(key, 'utf8').toString('base64url');

/**
 * The key in a cursor. Whether it is a key of the list at hand is for the caller to check: a client may
 * send anything.
 * @throws `validation_failed` for a text that `encodeCursor` cannot have made.
 */
export function decodeCursor(cursor: string): string {
  const key = Buffer.from(cursor, 'base64url').toString('utf8');
  // Node's decoder skips what it does not know, so only a text that comes out again the same was a cursor.
  if (key === '' || encodeCursor(key) !== cursor) throw cursorFault();
  return key;
}

/** As `decodeCursor`, for lists ordered by id. @throws `validation_failed` also where the key is not an id. */
export function decodeIdCursor(cursor: string): string {
  const key = decodeCursor(cursor);
  if (!isId(key)) throw cursorFault();
  return key;
}

const ID_CHARS = 36;

/** As `decodeIdCursor`, for lists ordered by something else beside the id; that stands behind it. */
export function decodeIdAndMore(cursor: string): { id: string; rest: string } {
  const key = decodeCursor(cursor);
  const id = key.slice(0, ID_CHARS);
  if (!isId(id)) throw cursorFault();
  return { id, rest: key.slice(ID_CHARS) };
}

/**
 * The bound for `id < ?` in a list that shows the newest first: the cursor's id, or a text past every id.
 * @throws `validation_failed` as `decodeIdCursor`.
 */
export const idBound = (cursor: string | null): string => (cursor === null ? '~' : decodeIdCursor(cursor));

/**
 * A page out of rows that were fetched with `limit + 1`: the extra row only tells that there is a next page.
 * `keyOf` gives the key by which the list is ordered.
 */
export function pageOf<T>(rows: readonly T[], limit: number, keyOf: (row: T) => string): Listing<T> {
  const data = rows.slice(0, limit);
  const last = data.at(-1);
  return { data, nextCursor: last !== undefined && rows.length > limit ? encodeCursor(keyOf(last)) : null };
}

/** As `decodeCursor`, for lists ordered by a count from 1. @throws `validation_failed` where the key is not one. */
export function decodeCountCursor(cursor: string): number {
  const key = decodeCursor(cursor);
  if (!/^[1-9][0-9]{0,14}$/.test(key)) throw cursorFault();
  return Number(key);
}

/** A page ends early where its rows would be more than this together: one answer must not fill the memory. */
const PAGE_BYTES_MAX = 4 * 1024 * 1024;

/**
 * As `pageOf` for rows that may be large.
 * @param sizes the bytes of the next `limit + 1` rows, in order
 * @param fetch reads that many of them
 */
export function pageWithinBytes<T>(
  sizes: readonly number[],
  limit: number,
  fetch: (count: number) => readonly T[],
  keyOf: (row: T) => string,
): Listing<T> {
  let count = 0;
  let bytes = 0;
  for (const size of sizes.slice(0, limit)) {
    bytes += size;
    // One row is always given, or the list could not go on.
    if (count > 0 && bytes > PAGE_BYTES_MAX) break;
    count += 1;
  }
  const data = count === 0 ? [] : [...fetch(count)];
  const last = data.at(-1);
  return { data, nextCursor: last !== undefined && sizes.length > count ? encodeCursor(keyOf(last)) : null };
}
