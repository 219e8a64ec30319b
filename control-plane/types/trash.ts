import type { Actor } from './admins.ts';
import type { IssuedKey } from './api-keys.ts';
import type { Tenant } from './tenants.ts';

/** Tenants on their way out. */
export interface TrashVerbs {
  /** Marks the tenant as deleted; its keys are dead for good when this returns. */
  deleteTenant(id: string, actor: Actor): Tenant;
  /** A tenant that is deleted and not being purged. @throws `not_found` */
  getDeletedTenant(id: string): Tenant;
  /** Takes a deleted tenant back, active or suspended as it was, with one new key. The old ones stay dead. */
  undeleteTenant(id: string, actor: Actor): { tenant: Tenant; issued: IssuedKey };
  /** As `deleteTenant`, for a tenant that is deleted already too, and from here there is no way back. */
  beginPurge(id: string, actor: Actor): void;
  /** Tenants whose purge has begun and not ended. */
  listPurging(): string[];
  /**
   * Removes what control.db holds of a tenant whose purge has begun: keys, usage, and what the audit says of it, names
   * above all. Who did what and when stays, and that the purge has not ended. `compact` is to follow, then `endPurge`.
   */
  forgetTenant(id: string): void;
  /** Writes control.db anew, so that no byte of what was removed is left in it. */
  compact(): void;
  /** Once nothing is left of the tenant but its row: removes that. */
  endPurge(id: string, actor: Actor): void;
}
