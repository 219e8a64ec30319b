import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import * as argon2 from 'argon2';
import { and, desc, eq, isNull, lt, ne, sql } from 'drizzle-orm';
import { LRUCache } from 'lru-cache';
import { Fault, invalid, notFound, unauthorized } from '../tenant-schema/fault.ts';
import { idBound, pageOf } from '../tenant-schema/page.ts';
import type { Listing, Page } from '../tenant-schema/store.ts';
import { createAttemptBuckets, tooManyAttempts } from './attempt-buckets.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { ADMIN_MARK, KEY_MARK, makeKey, parseKey } from './key-format.ts';
import { adminTokens } from './tables.ts';
import type { Actor, Admin, AdminRole, AdminToken, ControlPlane } from './types.ts';

/** A verified token is only told by its digest until it is this old; then argon2 is asked again. */
const REMEMBER_MS = 5 * 60_000;
const REMEMBERED_MAX = 1000;
/** At about 130 ms each, whoever comes after this many attempts is better told to come back. */
const WAITING_MAX = 64;
/** How long the last use of a token may stay in memory before it is written. */
const LAST_USE_FLUSH_MS = 60_000;
/** The stored token: the one that a first start makes and ADMIN_TOKEN replaces. */
const STORED_NAME = 'admin';
const TAG_SALT_BYTES = 16;
const TAG_BYTES = 2;
/** What earlier releases made: as random as those of today, but it does not say which row it belongs to. */
const WITHOUT_ID = /^nba_[0-9A-Za-z]{43}$/;
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
  find: ControlPlane['findAdmin'];
  /** The admin whose token has this id, while it is in force; notes its use. */
  inForce(id: string): Admin | undefined;
  create: ControlPlane['createAdminToken'];
  list(page: Page): Listing<AdminToken>;
  revoke: ControlPlane['revokeAdminToken'];
  set(token: string): Promise<void>;
  ensure(): Promise<string | null>;
  exists(): boolean;
  /** Writes down when tokens were last used, as far as that is only in memory. */
  flushLastUses(): void;
}

type Row = typeof adminTokens.$inferSelect;

export function createAdminTokens(
  { db, clock, ids, write }: ControlDatabase,
  audit: Audit,
  hasher: TokenHasher = { hash: (token) => argon2.hash(token), verify: argon2.verify },
): AdminTokens {
  const inForce = isNull(adminTokens.revokedAt);
  const selectOne = db
    .select()
    .from(adminTokens)
    .where(eq(adminTokens.id, sql.placeholder('id')))
    .prepare();
  const selectStored = db
    .select()
    .from(adminTokens)
    .where(and(eq(adminTokens.name, STORED_NAME), inForce))
    .orderBy(desc(adminTokens.id))
    .limit(1)
    .prepare();
  const selectPage = db
    .select()
    .from(adminTokens)
    .where(lt(adminTokens.id, sql.placeholder('before')))
    .orderBy(desc(adminTokens.id))
    .limit(sql.placeholder('count'))
    .prepare();

  /** The digest of the stored token, where its text was given to this start or was verified since: no argon2 for it. */
  let given: { id: string; digest: Buffer } | null = null;
  // A resolution of 0 makes the cache ask the clock each time instead of a timer of its own.
  const verified = new LRUCache<string, true>({
    max: REMEMBERED_MAX,
    ttl: REMEMBER_MS,
    ttlResolution: 0,
    perf: { now: () => clock.monotonic() },
  });
  /** Verifications under way: the same token again waits for the same answer. */
  const pending = new Map<string, Promise<boolean>>();
  // Apart, so that tokens which are plainly wrong do not use up what a right one may need.
  const takeAttempt = createAttemptBuckets(clock);
  const takeRefusal = createAttemptBuckets(clock);
  const inTurn = createQueue();

  const lastUses = new Map<string, number>();
  let flushedAtMonotonic = clock.monotonic();

  function flushLastUses(): void {
    if (lastUses.size === 0) return;
    tryWrite(() => {
      for (const [id, lastUsedAt] of lastUses) {
        db.update(adminTokens).set({ lastUsedAt }).where(eq(adminTokens.id, id)).run();
      }
      lastUses.clear();
    });
  }

  /** For what may be written the next time: a disk that takes no writes must not lock admins out. */
  function tryWrite(work: () => unknown): void {
    try {
      write(work);
    } catch {
      // The same is tried again at the next use.
    }
  }

  function found(row: Row): Admin {
    lastUses.set(row.id, clock.now());
    if (clock.monotonic() - flushedAtMonotonic >= LAST_USE_FLUSH_MS) {
      flushedAtMonotonic = clock.monotonic();
      setImmediate(flushLastUses);
    }
    return { id: row.id, name: row.name, requestId: null, role: row.role };
  }

  /** Adds a row, in the place of the stored one where it is to be that. Only inside a transaction. */
  function insert(row: Pick<Row, 'id' | 'name' | 'role' | 'hash' | 'tag'>, actor: Actor): AdminToken {
    const replaced =
      row.name === STORED_NAME
        ? db
            .delete(adminTokens)
            .where(eq(adminTokens.name, STORED_NAME))
            .returning({ id: adminTokens.id, revokedAt: adminTokens.revokedAt })
            .all()
        : [];
    const whole: Row = { ...row, createdAt: clock.now(), lastUsedAt: null, revokedAt: null };
    db.insert(adminTokens).values(whole).run();
    const old = replaced.find(({ revokedAt }) => revokedAt === null);
    audit({
      actor,
      action: old ? 'admin_token.replace' : 'admin_token.create',
      tenantId: null,
      targetId: row.id,
      changes: { name: row.name, role: row.role, ...(old && { replaced: old.id }) },
    });
    return toAdminToken(whole);
  }

  /** A token of the server's own making. */
  async function make(): Promise<Pick<Row, 'id' | 'hash' | 'tag'> & { text: string }> {
    const id = ids();
    const { text } = makeKey(id, ADMIN_MARK);
    return { id, text, tag: newTag(text), hash: await inTurn(() => hasher.hash(text)) };
  }

  const hasOwner = (except = ''): boolean =>
    db
      .select({ id: adminTokens.id })
      .from(adminTokens)
      .where(and(eq(adminTokens.role, 'owner'), inForce, ne(adminTokens.id, except)))
      .get() !== undefined;

  /** What a token that is wrong gets, and had the argon2 hash not to be asked. */
  function refuse(address: string): undefined {
    const retryAfterSeconds = takeRefusal(address);
    if (retryAfterSeconds > 0) throw tooManyAttempts(retryAfterSeconds);
    return undefined;
  }

  /** One argon2 verification, after the address's bucket and every attempt before this one. */
  function attempt(known: string, hash: string, token: string, address: string): Promise<boolean> {
    const retryAfterSeconds = pending.size < WAITING_MAX ? takeAttempt(address) : 1;
    if (retryAfterSeconds > 0) throw tooManyAttempts(retryAfterSeconds);
    const verification = inTurn(() => hasher.verify(hash, token)).finally(() => pending.delete(known));
    pending.set(known, verification);
    return verification;
  }

  /** Of a token that argon2 alone could tell so far: what tells it from now on. */
  function remember(id: string, token: string, digest: Buffer): void {
    if (!WITHOUT_ID.test(token)) given = { id, digest };
    else {
      const tag = newTag(token);
      tryWrite(() => db.update(adminTokens).set({ tag }).where(eq(adminTokens.id, id)).run());
    }
  }

  return {
    flushLastUses,

    async find(token, address) {
      if (!isAdminToken(token)) return undefined;
      const digest = sha256(token);
      const isGiven = given !== null && timingSafeEqual(given.digest, digest);
      const keyId = parseKey(token, ADMIN_MARK)?.keyId;
      const row = isGiven
        ? selectOne.get({ id: given?.id })
        : ((keyId === undefined ? undefined : selectOne.get({ id: keyId })) ?? selectStored.get());
      if (!row || row.revokedAt !== null) return refuse(address);
      if (isGiven) return found(row);
      // The text of this one is known, and it is another.
      if (row.id === given?.id) return refuse(address);
      if (row.tag && !fitsTag(row.tag, token)) return refuse(address);

      // With the row's hash in it, what is remembered ends with the row.
      const known = `${digest.toString('hex')} ${row.hash}`;
      if (!verified.has(known)) {
        const isRight = await (pending.get(known) ?? attempt(known, row.hash, token, address));
        if (!isRight) return undefined;
        verified.set(known, true);
        // The token may have been replaced or revoked in the meantime.
        const now = selectOne.get({ id: row.id });
        if (now?.hash !== row.hash || now.revokedAt !== null) return undefined;
        if (!row.tag) remember(row.id, token, digest);
      }
      return found(row);
    },

    inForce(id) {
      const row = selectOne.get({ id });
      return row?.revokedAt === null ? found(row) : undefined;
    },

    async create({ name, role }, actor) {
      if (name === STORED_NAME) {
        throw new Fault('already_exists', `The name "${STORED_NAME}" is that of the stored admin token.`);
      }
      const { text: secret, ...made } = await make();
      const token = write(() => {
        // To hash it takes a while: whoever was revoked meanwhile must not be left with another token.
        if (selectOne.get({ id: actor.id })?.revokedAt != null) throw unauthorized();
        const same = db
          .select({ id: adminTokens.id })
          .from(adminTokens)
          .where(and(eq(adminTokens.name, name), isNull(adminTokens.revokedAt)))
          .get();
        // A name is what the audit says of who did something.
        if (same) throw new Fault('already_exists', `There is an admin token of the name "${name}".`);
        return insert({ ...made, name, role }, actor);
      });
      return { token, secret };
    },

    list(page) {
      flushLastUses();
      const rows = selectPage.all({ before: idBound(page.cursor), count: page.limit + 1 });
      return pageOf(rows.map(toAdminToken), page.limit, ({ id }) => id);
    },

    revoke: (id, actor) =>
      write(() => {
        const row = selectOne.get({ id });
        if (!row) throw notFound();
        if (row.revokedAt !== null) return;
        if (row.role === 'owner' && !hasOwner(id)) {
          throw invalid([{ path: 'id', message: "is the last owner's token; make another one first" }]);
        }
        db.update(adminTokens).set({ revokedAt: clock.now() }).where(eq(adminTokens.id, id)).run();
        const { name, role } = row;
        audit({ actor, action: 'admin_token.revoke', tenantId: null, targetId: id, changes: { name, role } });
      }),

    async set(token) {
      if (!isAdminToken(token)) {
        throw invalid([
          {
            path: 'token',
            message: `must be 16 to 512 printable ASCII characters and not begin with "${KEY_MARK}"`,
          },
        ]);
      }
      const digest = sha256(token);
      const stored = selectStored.get();
      if (stored && (await inTurn(() => hasher.verify(stored.hash, token)))) {
        given = { id: stored.id, digest };
        return;
      }
      const id = ids();
      const hash = await inTurn(() => hasher.hash(token));
      write(() => insert({ id, name: STORED_NAME, role: OWNER, hash, tag: null }, SYSTEM));
      given = { id, digest };
    },

    exists: () => hasOwner(),

    async ensure() {
      if (hasOwner()) return null;
      const { text, ...made } = await make();
      return write(() => {
        if (hasOwner()) return null;
        insert({ ...made, name: STORED_NAME, role: OWNER }, SYSTEM);
        return text;
      });
    },
  };
}

const OWNER: AdminRole = 'owner';

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** For tokens with 256 random bits only: of one that somebody chose, it would help to guess the rest. */
const newTag = (token: string): Buffer => tagWith(randomBytes(TAG_SALT_BYTES), token);

const tagWith = (salt: Buffer, token: string): Buffer =>
  Buffer.concat([salt, createHmac('sha256', salt).update(token).digest().subarray(0, TAG_BYTES)]);

/** Whether the token may be the tag's: of those that are not, one in 65,536. */
const fitsTag = (tag: Buffer, token: string): boolean =>
  timingSafeEqual(tag, tagWith(tag.subarray(0, TAG_SALT_BYTES), token));

const toAdminToken = ({ hash: _, tag: __, ...row }: Row): AdminToken => row;

/** Runs what it is given one after the other: argon2 takes a thread of the few that fsync needs too. */
function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => undefined);
    return result;
  };
}
