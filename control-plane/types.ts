import type { AdminVerbs } from './types/admins.ts';
import type { ApiKeyVerbs } from './types/api-keys.ts';
import type { AuditVerbs } from './types/audit.ts';
import type { CopyVerbs } from './types/copies.ts';
import type { ProviderKeyVerbs } from './types/provider-keys.ts';
import type { SessionVerbs } from './types/sessions.ts';
import type { TenantVerbs } from './types/tenants.ts';
import type { TrashVerbs } from './types/trash.ts';
import type { UsageVerbs } from './types/usage.ts';

export * from './types/admins.ts';
export * from './types/api-keys.ts';
export * from './types/audit.ts';
export * from './types/copies.ts';
export * from './types/provider-keys.ts';
export * from './types/sessions.ts';
export * from './types/tenants.ts';
export * from './types/trash.ts';
export * from './types/usage.ts';

/**
 * control.db: which tenants exist and who may speak for them. Every verb is one transaction and every change
 * writes its audit row in the same one. Verbs throw `Fault('not_found')` for ids that are not there.
 */
export interface ControlPlane
  extends AdminVerbs,
    ApiKeyVerbs,
    AuditVerbs,
    CopyVerbs,
    ProviderKeyVerbs,
    SessionVerbs,
    TenantVerbs,
    TrashVerbs,
    UsageVerbs {
  /** Writes down when keys were last used, as far as that is only in this process's memory. */
  flushLastUses(): void;
  close(): void;
}
