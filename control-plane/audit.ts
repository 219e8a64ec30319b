import { sql } from 'drizzle-orm';
import type { JsonObject } from '../tenant-schema/store.ts';
import type { ControlDatabase } from './database.ts';
import { audit } from './tables.ts';
import type { Actor } from './types.ts';

export type AuditAction =
  | 'tenant.create'
  | 'tenant.adopt'
  | 'tenant.update'
  | 'tenant.clone'
  | 'tenant.import'
  | 'tenant.delete'
  | 'tenant.undelete'
  | 'tenant.purge'
  | 'tenant.restore'
  | 'tenant.export'
  | 'backup.create'
  | 'key.create'
  | 'key.rotate'
  | 'key.revoke'
  | 'admin_token.create'
  | 'admin_token.replace';

export interface AuditEntry {
  actor: Actor;
  action: AuditAction;
  tenantId: string | null;
  /** The row that was changed. */
  targetId: string;
  /** What changed, without secrets. */
  changes?: JsonObject;
}

/** Writes down who did what. Called inside the transaction of the change, so that neither is there alone. */
export type Audit = (entry: AuditEntry) => void;

export function createAudit({ db, clock, ids }: ControlDatabase): Audit {
  const insert = db
    .insert(audit)
    .values({
      id: sql.placeholder('id'),
      at: sql.placeholder('at'),
      actorId: sql.placeholder('actorId'),
      actorName: sql.placeholder('actorName'),
      action: sql.placeholder('action'),
      tenantId: sql.placeholder('tenantId'),
      targetId: sql.placeholder('targetId'),
      requestId: sql.placeholder('requestId'),
      changes: sql.placeholder('changes'),
    })
    .prepare();
  return ({ actor, action, tenantId, targetId, changes = {} }) => {
    insert.run({
      id: ids(),
      at: clock.now(),
      actorId: actor.id,
      actorName: actor.name,
      action,
      tenantId,
      targetId,
      requestId: actor.requestId,
      changes,
    });
  };
}
