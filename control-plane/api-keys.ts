import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { and, desc, eq, gt, gte, isNull, lt, ne, notExists, or, sql } from 'drizzle-orm';
import { Fault, invalid, notFound } from '../tenant-schema/fault.ts';
import { idBound, pageOf } from '../tenant-schema/page.ts';
import type { Listing, Page } from '../tenant-schema/store.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { keyPrefix, makeKey, parseKey } from './key-format.ts';
import { apiKeys, tenants } from './tables.ts';
import { toTenant } from './tenants.ts';
import {
  type Actor,
  type ApiKey,
  type IssuedKey,
  type NewKey,
  type Rotation,
  SCOPES,
  type TenantIdentity,
} from './types.ts';

const SALT_BYTES = 16;
/** How long a key's last use stays in memory before it is written, together with every other key's. */
const LAST_USE_FLUSH_MS = 60_000;
/** Keys whose last use is written in one transaction. */
const LAST_USE_BATCH = 500;

export interface ApiKeys {
  /** Only inside a transaction, on a tenant that is there. */
  insert(tenantId: string, key: NewKey, actor: Actor): IssuedKey;
  list(tenantId: string, page: Page): Listing<ApiKey>;
  /** See `ControlPlane.listKeyless`. */
  listKeyless(): string[];
  /** Only inside a transaction. See `ControlPlane.rotateKey`. */
  rotate(tenantId: string, keyId: string, rotation: Rotation, actor: Actor): IssuedKey;
  /** Only inside a transaction. @throws `not_found` for a key that this tenant does not have. */
  revoke(tenantId: string, keyId: string, actor: Actor, options: { keepManager: boolean }): void;
  /** Only inside a transaction: all that are not revoked yet; gives how many those were. */
  revokeAll(tenantId: string): number;
  find(text: string): TenantIdentity | undefined;
  /** Writes down when keys were last used, as far as that is only in memory. */
  flushLastUses(): void;
  /** As `flushLastUses`, at the end. */
  close(): void;
}

export function createApiKeys({ db, clock, ids, write }: ControlDatabase, audit: Audit): ApiKeys {
  const listed = {
    id: apiKeys.id,
    tenantId: apiKeys.tenantId,
    name: apiKeys.name,
    scopes: apiKeys.scopes,
    createdAt: apiKeys.createdAt,
    expiresAt: apiKeys.expiresAt,
    lastUsedAt: apiKeys.lastUsedAt,
    revokedAt: apiKeys.revokedAt,
  };
  const insert = db
    .insert(apiKeys)
    .values({
      id: sql.placeholder('id'),
      tenantId: sql.placeholder('tenantId'),
      name: sql.placeholder('name'),
      scopes: sql.placeholder('scopes'),
      salt: sql.placeholder('salt'),
      hash: sql.placeholder('hash'),
      createdAt: sql.placeholder('createdAt'),
      expiresAt: sql.placeholder('expiresAt'),
    })
    .prepare();
  const selectPage = db
    .select(listed)
    .from(apiKeys)
    .where(and(eq(apiKeys.tenantId, sql.placeholder('tenantId')), lt(apiKeys.id, sql.placeholder('before'))))
    .orderBy(desc(apiKeys.id))
    .limit(sql.placeholder('count'))
    .prepare();
  const selectOne = db
    .select(listed)
    .from(apiKeys)
    .where(and(eq(apiKeys.id, sql.placeholder('id')), eq(apiKeys.tenantId, sql.placeholder('tenantId'))))
    .prepare();
  const selectIdentity = db
    .select({ key: apiKeys, tenant: tenants })
    .from(apiKeys)
    .innerJoin(tenants, eq(tenants.id, apiKeys.tenantId))
    .where(eq(apiKeys.id, sql.placeholder('id')))
    .prepare();

  const updateLastUse = db
    .update(apiKeys)
    .set({ lastUsedAt: sql`${sql.placeholder('lastUsedAt')}` })
    .where(eq(apiKeys.id, sql.placeholder('id')))
    .prepare();

  /** Uses that are not written yet. */
  const lastUses = new Map<string, number>();
  let flushTimer: NodeJS.Timeout | null = null;

  function writeLastUses(countMax: number): void {
    const batch = [...take(lastUses, countMax)];
    if (batch.length === 0) return;
    write(() => {
      for (const [id, lastUsedAt] of batch) updateLastUse.run({ id, lastUsedAt });
    });
    for (const [id] of batch) lastUses.delete(id);
  }

  function flushLastUses(): void {
    writeLastUses(lastUses.size);
  }

  /** On a timer, never in the request that used a key: a write waits for the disk. */
  function flushSoon(delayMs: number): void {
    flushTimer = setTimeout(() => {
      flushTimer = null;
      try {
        writeLastUses(LAST_USE_BATCH);
        if (lastUses.size > 0) flushSoon(0);
      } catch {
        // A disk that takes no writes, or a lock: the uses stay noted for the next minute.
        flushSoon(LAST_USE_FLUSH_MS);
      }
    }, delayMs);
    flushTimer.unref();
  }

  function noteUse(keyId: string): void {
    lastUses.set(keyId, clock.now());
    if (flushTimer === null) flushSoon(LAST_USE_FLUSH_MS);
  }

  const withLastUse = (row: Omit<ApiKey, 'prefix'>): ApiKey =>
    toApiKey({ ...row, lastUsedAt: lastUses.get(row.id) ?? row.lastUsedAt });

  /**
   * Whether the tenant would be left without a key that can make keys. One that expires sooner than this one does not
   * count: the tenant would be locked out a little later.
   */
  function isLastManager(key: ApiKey): boolean {
    const now = clock.now();
    const isInForce = key.expiresAt === null || key.expiresAt > now;
    if (!isInForce || !key.scopes.includes('manage')) return false;
    const others = db
      .select({ scopes: apiKeys.scopes })
      .from(apiKeys)
      .where(
        and(
          eq(apiKeys.tenantId, key.tenantId),
          ne(apiKeys.id, key.id),
          isNull(apiKeys.revokedAt),
          or(
            isNull(apiKeys.expiresAt),
            key.expiresAt === null ? undefined : gte(apiKeys.expiresAt, key.expiresAt),
          ),
        ),
      )
      .all();
    return !others.some(({ scopes }) => scopes.includes('manage'));
  }

  return {
    flushLastUses,

    close() {
      if (flushTimer) clearTimeout(flushTimer);
      flushLastUses();
    },

    insert(tenantId, { name, scopes = SCOPES, expiresAt = null }, actor) {
      const id = ids();
      const { text, stored } = makeSecret(id);
      const row = {
        id,
        tenantId,
        name,
        scopes: SCOPES.filter((scope) => scopes.includes(scope)),
        createdAt: clock.now(),
        expiresAt,
      };
      insert.run({ ...row, ...stored });
      audit({
        actor,
        action: 'key.create',
        tenantId,
        targetId: id,
        changes: { name, scopes: row.scopes, expires_at: expiresAt },
      });
      return { key: toApiKey({ ...row, lastUsedAt: null, revokedAt: null }), secret: text };
    },

    list(tenantId, page) {
      const rows = selectPage.all({ tenantId, before: idBound(page.cursor), count: page.limit + 1 });
      return pageOf(rows.map(withLastUse), page.limit, (key) => key.id);
    },

    listKeyless() {
      const usable = db
        .select({ id: apiKeys.id })
        .from(apiKeys)
        .where(
          and(
            eq(apiKeys.tenantId, tenants.id),
            isNull(apiKeys.revokedAt),
            or(isNull(apiKeys.expiresAt), gt(apiKeys.expiresAt, clock.now())),
          ),
        );
      return db
        .select({ id: tenants.id })
        .from(tenants)
        .where(and(ne(tenants.status, 'deleted'), notExists(usable)))
        .all()
        .map(({ id }) => id);
    },

    rotate(tenantId, keyId, { overlapMs, scopesMax = SCOPES }, actor) {
      const key = selectOne.get({ id: keyId, tenantId });
      if (!key || key.revokedAt !== null) throw notFound();
      const excess = key.scopes.filter((scope) => !scopesMax.includes(scope));
      if (excess.length > 0) {
        throw new Fault('insufficient_scope', `The key allows more than your own: ${excess.join(', ')}.`);
      }
      const now = clock.now();
      if (key.expiresAt !== null && key.expiresAt <= now) {
        throw invalid([{ path: 'key_id', message: 'has expired; make another key' }]);
      }
      const { text, stored } = makeSecret(keyId);
      // In SQL, where the right side is the row as it was: the secret in force moves aside in the same statement.
      const replaced =
        overlapMs > 0
          ? {
              replacedSalt: sql`${apiKeys.salt}`,
              replacedHash: sql`${apiKeys.hash}`,
              replacedUntil: now + overlapMs,
            }
          : { replacedSalt: null, replacedHash: null, replacedUntil: null };
      db.update(apiKeys)
        .set({ ...stored, ...replaced })
        .where(eq(apiKeys.id, keyId))
        .run();
      audit({
        actor,
        action: 'key.rotate',
        tenantId,
        targetId: keyId,
        changes: { name: key.name, overlap_seconds: overlapMs / 1000 },
      });
      return { key: withLastUse(key), secret: text };
    },

    revoke(tenantId, keyId, actor, { keepManager }) {
      const key = selectOne.get({ id: keyId, tenantId });
      if (!key) throw notFound();
      if (key.revokedAt !== null) return;
      if (keepManager && isLastManager(toApiKey(key))) {
        throw invalid([
          {
            path: 'key_id',
            message: 'is the last key with the scope "manage" that lasts so long; make another one first',
          },
        ]);
      }
      const revokedAt = clock.now();
      db.update(apiKeys).set({ revokedAt }).where(eq(apiKeys.id, keyId)).run();
      audit({ actor, action: 'key.revoke', tenantId, targetId: keyId, changes: { name: key.name } });
    },

    revokeAll: (tenantId) =>
      db
        .update(apiKeys)
        .set({ revokedAt: clock.now() })
        .where(and(eq(apiKeys.tenantId, tenantId), isNull(apiKeys.revokedAt)))
        .run().changes,

    find(text) {
      const parsed = parseKey(text);
      if (!parsed) return undefined;
      const row = selectIdentity.get({ id: parsed.keyId });
      const now = clock.now();
      if (!row || !opens(row.key, parsed.secret, now)) return undefined;
      const { id, name, scopes, expiresAt, revokedAt } = row.key;
      if (revokedAt !== null || (expiresAt !== null && expiresAt <= now)) return undefined;
      if (row.tenant.status === 'deleted') return undefined;
      noteUse(id);
      return { tenant: toTenant(row.tenant), key: { id, name, scopes } };
    },
  };
}

/** The first entries, at most `countMax`. */
function* take<T>(entries: Iterable<T>, countMax: number): Generator<T> {
  let count = 0;
  for (const entry of entries) {
    if (count >= countMax) return;
    count += 1;
    yield entry;
  }
}

/** A fresh secret: the key's text for the client, and what is kept of it. */
function makeSecret(keyId: string): { text: string; stored: { salt: Buffer; hash: Buffer } } {
  const { text, secret } = makeKey(keyId);
  const salt = randomBytes(SALT_BYTES);
  return { text, stored: { salt, hash: hashSecret(salt, secret) } };
}

/** Whether the secret is the key's own, or the one before it while that still works. */
function opens(row: typeof apiKeys.$inferSelect, secret: string, now: number): boolean {
  if (timingSafeEqual(row.hash, hashSecret(row.salt, secret))) return true;
  const { replacedSalt, replacedHash, replacedUntil } = row;
  if (!replacedSalt || !replacedHash || replacedUntil === null || replacedUntil <= now) return false;
  return timingSafeEqual(replacedHash, hashSecret(replacedSalt, secret));
}

/** The secret has 256 random bits, so there is nothing to guess and nothing that a slow hash would add. */
const hashSecret = (salt: Buffer, secret: string): Buffer =>
  createHash('sha256').update(salt).update(secret).digest();

const toApiKey = (row: Omit<ApiKey, 'prefix'>): ApiKey => ({ ...row, prefix: keyPrefix(row.id) });
