import { and, desc, eq, gt, gte, isNull, lt, ne, notExists, or, sql } from 'drizzle-orm';
import { Fault, invalid, notFound } from '../tenant-schema/fault.ts';
import { idBound, pageOf } from '../tenant-schema/page.ts';
import type { Listing, Page } from '../tenant-schema/store.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { keyPrefix, parseKey } from './key-format.ts';
import { isSecret, makeSecret, type StoredSecret } from './key-secret.ts';
import { createLastUses } from './last-uses.ts';
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

type KeyRow = typeof apiKeys.$inferSelect;
type TenantRow = typeof tenants.$inferSelect;

/** Whom a key speaks for, and the hash of its secret that told so. */
export interface OpenedKey {
  identity: TenantIdentity;
  hash: Buffer;
}

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
  /** See `ControlPlane.findByKey`. */
  open(text: string): OpenedKey | undefined;
  /** What `open` would find now for the text that it has found this id and hash for. */
  reopen(keyId: string, hash: Buffer): TenantIdentity | undefined;
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
    .set({ lastUsedAt: sql`max(coalesce(${apiKeys.lastUsedAt}, 0), ${sql.placeholder('lastUsedAt')})` })
    .where(eq(apiKeys.id, sql.placeholder('id')))
    .prepare();

  const lastUses = createLastUses((batch) =>
    write(() => {
      for (const [id, lastUsedAt] of batch) updateLastUse.run({ id, lastUsedAt });
    }),
  );

  const withLastUse = (row: Omit<ApiKey, 'prefix'>): ApiKey =>
    toApiKey({ ...row, lastUsedAt: lastUses.get(row.id) ?? row.lastUsedAt });

  /** Whom a key speaks for whose secret was found to be right; notes its use. */
  function identityOf({ key, tenant }: { key: KeyRow; tenant: TenantRow }): TenantIdentity | undefined {
    const { id, name, scopes, expiresAt, revokedAt } = key;
    const now = clock.now();
    if (revokedAt !== null || (expiresAt !== null && expiresAt <= now)) return undefined;
    if (tenant.status === 'deleted') return undefined;
    lastUses.note(id, now);
    return { tenant: toTenant(tenant), key: { id, name, scopes } };
  }

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
    flushLastUses: lastUses.flush,
    close: lastUses.close,

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

    open(text) {
      const parsed = parseKey(text);
      const row = parsed && selectIdentity.get({ id: parsed.keyId });
      if (!row) return undefined;
      const fitting = secretsOf(row.key, clock.now()).find((stored) => isSecret(stored, parsed.secret));
      const identity = fitting && identityOf(row);
      return identity && { identity, hash: fitting.hash };
    },

    reopen(keyId, hash) {
      const row = selectIdentity.get({ id: keyId });
      return row && secretsOf(row.key, clock.now()).some((stored) => stored.hash.equals(hash))
        ? identityOf(row)
        : undefined;
    },
  };
}

/** What the key's secret may be now: its own, and the one before it while that still works. */
function secretsOf(row: KeyRow, now: number): StoredSecret[] {
  const { salt, hash, replacedSalt, replacedHash, replacedUntil } = row;
  const isReplacedGood = replacedSalt && replacedHash && replacedUntil !== null && replacedUntil > now;
  return [{ salt, hash }, ...(isReplacedGood ? [{ salt: replacedSalt, hash: replacedHash }] : [])];
}

const toApiKey = (row: Omit<ApiKey, 'prefix'>): ApiKey => ({ ...row, prefix: keyPrefix(row.id) });
