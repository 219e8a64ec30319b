import { desc, eq, inArray, lte, or, sql } from 'drizzle-orm';
import { Fault, unauthorized } from '../tenant-schema/fault.ts';
import type { AdminTokens } from './admin-tokens.ts';
import type { ApiKeys } from './api-keys.ts';
import { createAttemptBuckets, tooManyAttempts } from './attempt-buckets.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { parseKey, SESSION_MARK } from './key-format.ts';
import { isSecret, makeSecret } from './key-secret.ts';
import { createLastUses, FLUSH_MS } from './last-uses.ts';
import { sessions } from './tables.ts';
import type { Actor, Credentials, SessionLimits, SessionOwner, SessionVerbs } from './types.ts';

/** Sessions that one admin token or key has at once; the oldest gives way. */
const SESSIONS_MAX = 100;
/** How far behind the row may be of a session that is used, for the other processes, which see nothing else. */
const BEHIND_MS_MAX = 60_000;

export const DEFAULT_SESSION_LIMITS: SessionLimits = {
  idleMs: 30 * 60_000,
  lifetimeMs: 12 * 60 * 60_000,
};

export interface Sessions extends SessionVerbs {
  /** Writes down when sessions were last used. */
  close(): void;
}

type Row = typeof sessions.$inferSelect;
/** Whom a session is for, and what of its row says so. */
type Begun = { owner: SessionOwner } & Pick<Row, 'adminTokenId' | 'apiKeyId' | 'apiKeyHash'>;

/** Sessions of the console. What they may do is read from their admin token or key at each request. */
export function createSessions(
  { db, clock, ids, write }: ControlDatabase,
  parts: { audit: Audit; adminTokens: AdminTokens; apiKeys: ApiKeys; limits: SessionLimits },
): Sessions {
  const { audit, adminTokens, apiKeys } = parts;
  const { idleMs, lifetimeMs } = parts.limits;
  const selectOne = db
    .select()
    .from(sessions)
    .where(eq(sessions.id, sql.placeholder('id')))
    .prepare();
  const lastUses = createLastUses(
    (batch) =>
      write(() => {
        for (const [id, at] of batch) {
          const lastUsedAt = sql`max(${sessions.lastUsedAt}, ${at})`;
          db.update(sessions).set({ lastUsedAt }).where(eq(sessions.id, id)).run();
        }
      }),
    // Other processes must know of it long before the session would end without it.
    Math.min(FLUSH_MS, idleMs / 4),
  );
  const behindMsMax = Math.min(BEHIND_MS_MAX, idleMs / 4);

  function noteUse({ id, lastUsedAt }: Row): void {
    const now = clock.now();
    lastUses.note(id, now);
    if (now - lastUsedAt < behindMsMax) return;
    try {
      lastUses.flush();
    } catch {
      // A disk that takes no writes, or a lock: it stays noted, and this process goes by that.
    }
  }
  const takeAttempt = createAttemptBuckets(clock);

  const isOver = (row: Row): boolean => {
    const now = clock.now();
    const lastUsedAt = Math.max(lastUses.get(row.id) ?? 0, row.lastUsedAt);
    return now >= row.createdAt + lifetimeMs || now >= lastUsedAt + idleMs;
  };

  async function begin(given: Credentials, address: string): Promise<Begun | undefined> {
    if ('adminToken' in given) {
      const admin = await adminTokens.find(given.adminToken, address);
      if (!admin) return undefined;
      return { owner: { kind: 'admin', admin }, adminTokenId: admin.id, apiKeyId: null, apiKeyHash: null };
    }
    const opened = apiKeys.open(given.apiKey);
    if (!opened) return undefined;
    const { identity, hash } = opened;
    if (identity.tenant.status === 'suspended') {
      throw new Fault('tenant_suspended', 'This tenant is suspended.');
    }
    return {
      owner: { kind: 'tenant', identity },
      adminTokenId: null,
      apiKeyId: identity.key.id,
      apiKeyHash: hash,
    };
  }

  function ownerOf({ adminTokenId, apiKeyId, apiKeyHash }: Row): SessionOwner | undefined {
    if (adminTokenId !== null) {
      const admin = adminTokens.inForce(adminTokenId);
      return admin && { kind: 'admin', admin };
    }
    const identity = apiKeyId !== null && apiKeyHash !== null && apiKeys.reopen(apiKeyId, apiKeyHash);
    return identity ? { kind: 'tenant', identity } : undefined;
  }

  const ofSame = (owner: SessionOwner) =>
    owner.kind === 'admin'
      ? eq(sessions.adminTokenId, owner.admin.id)
      : eq(sessions.apiKeyId, owner.identity.key.id);

  /** The latest first. */
  const idsOf = (owner: SessionOwner): string[] =>
    db
      .select({ id: sessions.id })
      .from(sessions)
      .where(ofSame(owner))
      .orderBy(desc(sessions.id))
      .all()
      .map(({ id }) => id);

  return {
    close: lastUses.close,

    async signIn(credentials, address, requestId) {
      const begun = await begin(credentials, address);
      if (!begun) {
        const retryAfterSeconds = takeAttempt(address);
        throw retryAfterSeconds > 0 ? tooManyAttempts(retryAfterSeconds) : unauthorized();
      }
      const { owner, ...credential } = begun;
      const id = ids();
      const { text, stored } = makeSecret(id, SESSION_MARK);
      const now = clock.now();
      write(() => {
        const tooMany = idsOf(owner).slice(SESSIONS_MAX - 1);
        if (tooMany.length > 0) db.delete(sessions).where(inArray(sessions.id, tooMany)).run();
        db.insert(sessions)
          .values({ id, ...stored, ...credential, createdAt: now, lastUsedAt: now })
          .run();
        audit({
          actor: actorOf(owner, requestId),
          action: 'session.create',
          tenantId: tenantIdOf(owner),
          targetId: id,
        });
      });
      return { session: { id, owner, expiresAt: now + lifetimeMs, idleMs }, text };
    },

    findSession(text) {
      const parsed = parseKey(text, SESSION_MARK);
      const row = parsed && selectOne.get({ id: parsed.keyId });
      if (!row || !isSecret(row, parsed.secret) || isOver(row)) return undefined;
      const owner = ownerOf(row);
      if (!owner) return undefined;
      noteUse(row);
      return { id: row.id, owner, expiresAt: row.createdAt + lifetimeMs, idleMs };
    },

    signOut: ({ id, owner }, requestId, { everywhere }) =>
      write(() => {
        const { changes: ended } = db
          .delete(sessions)
          .where(everywhere ? ofSame(owner) : eq(sessions.id, id))
          .run();
        // Two requests at once: the other one has ended it.
        if (ended === 0) return;
        audit({
          actor: actorOf(owner, requestId),
          action: 'session.delete',
          tenantId: tenantIdOf(owner),
          targetId: id,
          ...(everywhere && { changes: { everywhere: ended } }),
        });
      }),

    removeExpiredSessions() {
      lastUses.flush();
      const now = clock.now();
      const over = or(lte(sessions.createdAt, now - lifetimeMs), lte(sessions.lastUsedAt, now - idleMs));
      // Looked for first: a write would wait for the disk for nothing.
      if (!db.select({ id: sessions.id }).from(sessions).where(over).limit(1).get()) return 0;
      return write(() => db.delete(sessions).where(over).run().changes);
    },
  };
}

const actorOf = (owner: SessionOwner, requestId: string): Actor => {
  const { id, name } = owner.kind === 'admin' ? owner.admin : owner.identity.key;
  return { id, name, requestId };
};

const tenantIdOf = (owner: SessionOwner): string | null =>
  owner.kind === 'tenant' ? owner.identity.tenant.id : null;
