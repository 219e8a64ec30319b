import { LRUCache } from 'lru-cache';
import type { Clock } from '../tenant-schema/clock.ts';
import { Fault } from '../tenant-schema/fault.ts';

/** Attempts an address has at once, and how many come back each second. */
const BURST = 20;
const REFILL_PER_SECOND = 1;
/** Addresses remembered; whoever falls out begins anew, which the queue behind the buckets bears. */
const ADDRESSES_MAX = 10_000;

interface Bucket {
  attempts: number;
  atMonotonicMs: number;
}

/**
 * A token bucket for each address, of IPv6 for each network of 64 bits. The function takes one attempt and gives 0, or takes none and gives the
 * whole seconds until there is one.
 */
export function createAttemptBuckets(clock: Clock): (address: string) => number {
  const buckets = new LRUCache<string, Bucket>({ max: ADDRESSES_MAX });
  return (address) => {
    const nowMs = clock.monotonic();
    const network = networkOf(address);
    const bucket = buckets.get(network) ?? { attempts: BURST, atMonotonicMs: nowMs };
    const refilled = bucket.attempts + ((nowMs - bucket.atMonotonicMs) / 1000) * REFILL_PER_SECOND;
    const attempts = Math.min(BURST, refilled);
    const isAllowed = attempts >= 1;
    buckets.set(network, { attempts: isAllowed ? attempts - 1 : attempts, atMonotonicMs: nowMs });
    return isAllowed ? 0 : Math.ceil((1 - attempts) / REFILL_PER_SECOND);
  };
}

/** The answer to who has no attempt left. */
export const tooManyAttempts = (retryAfterSeconds: number): Fault =>
  new Fault('rate_limited', 'Too many attempts; try again later.', { details: { retryAfterSeconds } });

/** Whoever has one IPv6 address has the 2^64 of its network. */
function networkOf(address: string): string {
  const [, mapped] = /^::ffff:([\d.]+)$/i.exec(address) ?? [];
  if (mapped !== undefined) return mapped;
  if (!address.includes(':')) return address;
  // What "::" stands for is not more than zeros.
  const [before = [], after = []] = address.split('::').map((part) => part.split(':').filter(Boolean));
  const zeros = Array.from({ length: Math.max(8 - before.length - after.length, 0) }, () => '0');
  return [...before, ...zeros, ...after].slice(0, 4).join(':');
}
