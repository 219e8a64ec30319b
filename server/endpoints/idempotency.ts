import { createHash } from 'node:crypto';
import { invalid } from '../../tenant-schema/fault.ts';
import type { IdempotencyKey } from '../../tenant-schema/store.ts';

/** The request header by which a client names a request that it may send again. */
export const IDEMPOTENCY_HEADER = 'Idempotency-Key';

/** So long may a key be. */
export const IDEMPOTENCY_KEY_CHARS_MAX = 255;

const KEY = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/**
 * What names a request that may come again: its key, and what it asks. Neither text is kept, only their digests.
 * @param header as the client sent it; undefined where it sent none
 * @param body parsed and checked; two that differ in white space or in the order of members alone are the same
 * @throws `validation_failed` for a key that is none
 */
export function idempotencyOf(
  header: string | undefined,
  path: string,
  body: unknown,
): IdempotencyKey | null {
  if (header === undefined) return null;
  if (!KEY.test(header)) {
    throw invalid([
      {
        path: IDEMPOTENCY_HEADER,
        message: `must be 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters`,
      },
    ]);
  }
  return { keyHash: sha256(header), fingerprint: sha256(`${path}\n${JSON.stringify(body, inOrder)}`) };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Gives the members of each object in the order of their names. */
const inOrder = (_: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
    : value;
