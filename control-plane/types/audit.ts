import type { JsonObject, Listing, Page, TimeRange } from '../../tenant-schema/store.ts';
import type { Actor } from './admins.ts';

/** What was done with files, which control.db itself knows nothing of. */
const FILE_ACTIONS = [
  'tenant.restore',
  'tenant.export',
  'tenant.quiesce',
  'backup.create',
  'backup.download',
  'fleet.migrate',
  'doctor.fix',
  'logs.prune',
  'usage.rebuild',
] as const;

/** Every action that this release writes down. */
export const AUDIT_ACTIONS = [
  'tenant.create',
  'tenant.adopt',
  'tenant.update',
  'tenant.clone',
  'tenant.import',
  'tenant.delete',
  'tenant.undelete',
  'tenant.purge',
  'key.create',
  'key.rotate',
  'key.revoke',
  'provider_key.put',
  'provider_key.delete',
  'admin_token.create',
  'admin_token.replace',
  'admin_token.revoke',
  'master_key.rotate',
  'session.create',
  'session.delete',
  ...FILE_ACTIONS,
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

export interface FileEvent {
  action: (typeof FILE_ACTIONS)[number];
  /** Null where it is about all of them, or about control.db. */
  tenantId: string | null;
  /** The backup's id, or the export's; by default the tenant's. */
  targetId?: string;
  changes?: JsonObject;
}

/** `key`: a tenant's own. `system`: what the server does by itself. */
export type ActorKind = 'admin' | 'key' | 'system';

/** A row of the audit. */
export interface AuditEvent {
  id: string;
  at: number;
  actor: { id: string; name: string; kind: ActorKind };
  action: string;
  tenantId: string | null;
  targetId: string | null;
  requestId: string | null;
  /** Empty once the tenant is purged. */
  changes: JsonObject;
}

export interface AuditFilter extends TimeRange {
  tenantId?: string | undefined;
  /** The id or the name of who did it. */
  actor?: string | undefined;
  action?: AuditAction | undefined;
}

export interface AuditVerdict {
  rows: number;
  /** The first place where the audit is not what was written; the id is null where rows are missing at its end. */
  broken: { id: string | null; reason: string } | null;
}

/** Who did what. */
export interface AuditVerbs {
  /** Writes an audit row about a file, or about all of them. */
  recordFileEvent(event: FileEvent, actor: Actor): void;
  /** The audit, newest first. */
  listAudit(filter: AuditFilter, page: Page): Listing<AuditEvent>;
  /** Follows the audit's chain of hashes from its first row to its last, a batch at a time. */
  verifyAudit(): Promise<AuditVerdict>;
}
