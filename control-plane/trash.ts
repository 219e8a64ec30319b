import { and, desc, eq } from 'drizzle-orm';
import { notFound } from '../tenant-schema/fault.ts';
import type { CopyChange } from '../tenant-schema/sqlite/plain-copy.ts';
import type { ApiKeys } from './api-keys.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { tenants as tenantRows } from './tables.ts';
import { type Tenants, toTenant } from './tenants.ts';
import type { ControlPlane } from './types.ts';

export interface Trash {
  remove: ControlPlane['deleteTenant'];
  get: ControlPlane['getDeletedTenant'];
  restore: ControlPlane['undeleteTenant'];
  beginPurge: ControlPlane['beginPurge'];
  listPurging: ControlPlane['listPurging'];
  forget: ControlPlane['forgetTenant'];
  endPurge: ControlPlane['endPurge'];
  compact: ControlPlane['compact'];
}

type Forgetting = Omit<CopyChange, 'parameter'>;

/**
 * What a purge does to the rows of control.db, as plain SQL so that copies of the file can be treated alike: also one
 * that an earlier release has made, which has not all of the tables. Rows that refer to the tenant come before it.
 */
const FORGET: Forgetting[] = [
  // Before the keys: what a tenant's own key did stands there under that key's name.
  {
    since: 1,
    sql: "UPDATE audit SET actor_name = '' WHERE actor_id IN (SELECT id FROM api_keys WHERE tenant_id = ?)",
  },
  { since: 1, sql: 'DELETE FROM api_keys WHERE tenant_id = ?' },
  { since: 5, sql: 'DELETE FROM provider_keys WHERE tenant_id = ?' },
  { since: 5, sql: 'DELETE FROM usage_days WHERE tenant_id = ?' },
  { since: 1, sql: "UPDATE audit SET changes = '{}' WHERE tenant_id = ?" },
  // With the salt goes what could still be guessed of it; the audit's chain holds without.
  { since: 6, sql: 'UPDATE audit SET private_salt = NULL WHERE tenant_id = ?' },
];
const REMOVE_ROW: Forgetting = { since: 1, sql: 'DELETE FROM tenants WHERE id = ?' };
/** For the file itself: the row says that there is something to finish, until the file is written anew. */
const BLANK_ROW: Forgetting = {
  since: 5,
  sql: "UPDATE tenants SET name = '', metadata = '{}', limits = '{}', settings = '{}' WHERE id = ?",
};

/** The statements that take these tenants out of a copy of control.db. */
export const forgetting = (tenantIds: readonly string[]): CopyChange[] =>
  tenantIds.flatMap((parameter) => [...FORGET, REMOVE_ROW].map((statement) => ({ ...statement, parameter })));

/** Tenants on their way out: what was deleted can come back, what is being purged cannot. */
export function createTrash(
  { db, clock, write, run, compact }: ControlDatabase,
  parts: { audit: Audit; tenants: Tenants; apiKeys: ApiKeys },
): Trash {
  const { audit, tenants, apiKeys } = parts;

  const find = (id: string) =>
    db
      .select()
      .from(tenantRows)
      .where(and(eq(tenantRows.id, id), eq(tenantRows.status, 'deleted'), eq(tenantRows.purging, false)))
      .get();

  const isPurging = (id: string): boolean =>
    db
      .select()
      .from(tenantRows)
      .where(and(eq(tenantRows.id, id), eq(tenantRows.purging, true)))
      .get() !== undefined;

  const requireDeleted = (id: string) => {
    const row = find(id);
    if (!row) throw notFound();
    return row;
  };

  const remove: Trash['remove'] = (id, actor) =>
    write(() => {
      const before = tenants.get(id);
      const deletedAt = clock.now();
      const statusBefore = before.status === 'suspended' ? 'suspended' : 'active';
      db.update(tenantRows)
        .set({ status: 'deleted', deletedAt, statusBefore })
        .where(eq(tenantRows.id, id))
        .run();
      const revokedKeys = apiKeys.revokeAll(id);
      const status = { from: before.status, to: 'deleted' };
      audit({
        actor,
        action: 'tenant.delete',
        tenantId: id,
        targetId: id,
        changes: { status, revoked_keys: revokedKeys },
      });
      return { ...before, status: 'deleted', deletedAt };
    });

  return {
    remove,
    get: (id) => toTenant(requireDeleted(id)),

    restore: (id, actor) =>
      write(() => {
        const status = requireDeleted(id).statusBefore ?? 'active';
        db.update(tenantRows)
          .set({ status, deletedAt: null, statusBefore: null })
          .where(eq(tenantRows.id, id))
          .run();
        audit({
          actor,
          action: 'tenant.undelete',
          tenantId: id,
          targetId: id,
          changes: { status: { from: 'deleted', to: status } },
        });
        return { tenant: tenants.get(id), issued: apiKeys.insert(id, { name: 'default' }, actor) };
      }),

    beginPurge: (id, actor) =>
      write(() => {
        if (isPurging(id)) return;
        if (!find(id)) remove(id, actor);
        db.update(tenantRows).set({ purging: true }).where(eq(tenantRows.id, id)).run();
        // Who asked for it, wherever it is cut off: then the next start brings it to its end.
        const changes = { state: 'begun' };
        audit({ actor, action: 'tenant.purge', tenantId: id, targetId: id, changes });
      }),

    listPurging: () =>
      db
        .select({ id: tenantRows.id })
        .from(tenantRows)
        .where(and(eq(tenantRows.status, 'deleted'), eq(tenantRows.purging, true)))
        .orderBy(desc(tenantRows.id))
        .all()
        .map(({ id }) => id),

    forget: (id) => {
      // A use that was only noted in memory would find no row any more.
      apiKeys.flushLastUses();
      write(() => {
        if (!isPurging(id)) return;
        for (const { sql } of [...FORGET, BLANK_ROW]) run(sql, id);
      });
    },

    endPurge: (id, actor) =>
      write(() => {
        if (!isPurging(id)) return;
        run(REMOVE_ROW.sql, id);
        audit({
          actor,
          action: 'tenant.purge',
          tenantId: id,
          targetId: id,
          changes: { state: 'done' },
        });
      }),

    compact,
  };
}
