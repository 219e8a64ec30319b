import { createHash } from 'node:crypto';
import * as argon2 from 'argon2';
import { desc } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import { Fault, invalid } from '../tenant-schema/fault.ts';
import { createAttemptBuckets } from './attempt-buckets.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { KEY_MARK, randomSecret } from './key-format.ts';
import { adminTokens } from './tables.ts';
import type { Actor } from './types.ts';

/** A verified token is only told by its digest until it is this old; then argon2 is asked again. */
const REMEMBER_MS = 5 * 60_000;
const REMEMBERED_MAX = 1000;
/** At about 130 ms each, whoever comes after this many attempts is better told to come back. */
const WAITING_MAX = 64;
const SYSTEM: Actor = { id: 'system', name: 'system', requestId: null };

/** Whether a text can be an admin token: 16 to 512 printable ASCII characters, not with a tenant key's mark. */
export const isAdminToken = (text: string): boolean =>
  /^[\x21-\x7e]([\x20-\x7e]{14,510})[\x21-\x7e]$/.test(text) && !text.startsWith(KEY_MARK);

/** How a token is hashed; argon2id with the package's defaults unless a test says otherwise. */
export interface TokenHasher {
  hash(token: string): Promise<string>;
  verify(hash: string, token: string): Promise<boolean>;
}

export interface AdminTokens {
  find(token: string, address: string): Promise<Actor | undefined>;
  set(token: string): Promise<void>;
  ensure(): Promise<string | null>;
  exists(): boolean;
}

export function createAdminTokens(
  { db, clock, ids, write }: ControlDatabase,
  audit: Audit,
  hasher: TokenHasher = { hash: (token) => argon2.hash(token), verify: argon2.verify },
): AdminTokens {
  const selectRow = db.select().from(adminTokens).orderBy(desc(adminTokens.id)).limit(1).prepare();
  // A resolution of 0 makes the cache ask the clock each time instead of a timer of its own.
  const verified = new LRUCache<string, true>({
    max: REMEMBERED_MAX,
    ttl: REMEMBER_MS,
    ttlResolution: 0,
    perf: { now: () => clock.monotonic() },
  });
  /** Verifications under way: the same token again waits for the same answer. */
  const pending = new Map<string, Promise<boolean>>();
  const takeAttempt = createAttemptBuckets(clock);
  const inTurn = createQueue();

  /** Replaces whatever is stored, unless `unless` holds once the write lock is taken. */
  function store(hash: string, unless: () => boolean = () => false): boolean {
    return write(() => {
      if (unless()) return false;
      const replaced = db.delete(adminTokens).returning({ id: adminTokens.id }).all();
      const id = ids();
      db.insert(adminTokens).values({ id, name: 'admin', hash, createdAt: clock.now() }).run();
      const [old] = replaced;
      audit({
        actor: SYSTEM,
        action: old ? 'admin_token.replace' : 'admin_token.create',
        tenantId: null,
        targetId: id,
        changes: old ? { replaced: old.id } : {},
      });
      return true;
    });
  }

  /** One argon2 verification, after the address's bucket and every attempt before this one. */
  function attempt(known: string, hash: string, token: string, address: string): Promise<boolean> {
    const retryAfterSeconds = pending.size < WAITING_MAX ? takeAttempt(address) : 1;
    if (retryAfterSeconds > 0) {
      throw new Fault('rate_limited', 'Too many attempts; try again later.', {
        details: { retryAfterSeconds },
      });
    }
    const verification = inTurn(() => hasher.verify(hash, token)).finally(() => pending.delete(known));
    pending.set(known, verification);
    return verification;
  }

  return {
    async find(token, address) {
      if (!isAdminToken(token)) return undefined;
      const row = selectRow.get();
      if (!row) return undefined;
      // With the row's hash in it, what is remembered ends with the row.
      const known = `${createHash('sha256').update(token).digest('hex')} ${row.hash}`;
      if (!verified.has(known)) {
        const isRight = await (pending.get(known) ?? attempt(known, row.hash, token, address));
        if (!isRight) return undefined;
        verified.set(known, true);
        // The token may have been replaced in the meantime.
        if (selectRow.get()?.hash !== row.hash) return undefined;
      }
      return { id: row.id, name: row.name, requestId: null };
    },

    async set(token) {
      if (!isAdminToken(token)) {
        throw invalid([
          {
            path: 'token',
            message: `must be 16 to 512 printable ASCII characters and not begin with "${KEY_MARK}"`,
          },
        ]);
      }
      const row = selectRow.get();
      if (row && (await inTurn(() => hasher.verify(row.hash, token)))) return;
      store(await inTurn(() => hasher.hash(token)));
    },

    exists: () => selectRow.get() !== undefined,

    async ensure() {
      if (selectRow.get()) return null;
      const token = `nba_${randomSecret()}`;
      const hash = await inTurn(() => hasher.hash(token));
      return store(hash, () => selectRow.get() !== undefined) ? token : null;
    },
  };
}

/** Runs what it is given one after the other: argon2 takes a thread of the few that fsync needs too. */
function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}
