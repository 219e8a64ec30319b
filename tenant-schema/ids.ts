import { randomFillSync } from 'node:crypto';
import { v7 } from 'uuid';
import type { Clock } from './clock.ts';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** True for the canonical text of a UUIDv7, the only kind of id this server makes. */
export const isId = (text: string): boolean => UUID_V7.test(text);

/** Makes UUIDv7 text. Ids of one maker sort in the order in which they were made, even within a millisecond. */
export type IdMaker = () => string;

const IDS_AT_A_TIME = 128;

/**
 * An id maker over the given clock. When the clock stands still or steps back, the ids go on from the last
 * millisecond seen, so that "newest first by id" is always "newest first by creation".
 */
export function createIds(clock: Clock): IdMaker {
  let lastMs = -1;
  let seq = 0;
  // Asked of the system for many ids at once, each byte used once: by itself that takes three times as long as the rest.
  const pool = Buffer.alloc(16 * IDS_AT_A_TIME);
  let used = pool.length;
  return () => {
    const ms = clock.now();
    if (used === pool.length) {
      randomFillSync(pool);
      used = 0;
    }
    const random = pool.subarray(used, used + 16);
    used += 16;
    if (ms > lastMs) {
      lastMs = ms;
      // A quarter of the counter's 32 bits is left free to count up within one millisecond.
      seq = random.readUInt32BE(0) % 0xc000_0000;
    } else {
      seq += 1;
      if (seq > 0xffff_ffff) {
        lastMs += 1;
        seq = 0;
      }
    }
    return v7({ msecs: lastMs, seq, random });
  };
}

/** The millisecond a UUIDv7 carries in its first 48 bits. */
export const idTime = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

/** The smallest id that a maker can give at `epochMs`: a bound for range queries by time. */
export function firstIdAt(epochMs: number): string {
  const ms = Math.min(Math.max(Math.trunc(epochMs), 0), 0xffff_ffff_ffff);
  const hex = ms.toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
