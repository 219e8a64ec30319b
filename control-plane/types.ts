import type { FileReport } from '../tenant-schema/engine.ts';
import type { JsonObject, Listing, Page } from '../tenant-schema/store.ts';

export type TenantStatus = 'active' | 'suspended' | 'deleted';

/** What a tenant may use; null is unlimited. */
export interface TenantLimits {
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  max_concurrent_turns: number | null;
  monthly_spend_usd: number | null;
  storage_bytes_max: number | null;
  /** Names of providers that may be asked; null allows every one. */
  providers: string[] | null;
}

export interface Tenant {
  id: string;
  name: string;
  status: TenantStatus;
  metadata: JsonObject;
  limits: TenantLimits;
  createdAt: number;
  /** Only where the status is `deleted`. */
  deletedAt?: number;
}

/** `chat`: turns. `read`: every GET. `manage`: configs, keys, export, changes to conversations. */
export type Scope = 'chat' | 'read' | 'manage';
export const SCOPES: readonly Scope[] = ['chat', 'read', 'manage'];

/** A key as it is listed: nothing in it opens anything. */
export interface ApiKey {
  id: string;
  tenantId: string;
  name: string;
  /** `nbs_` and the key id, the part of a key that may be shown. */
  prefix: string;
  scopes: Scope[];
  createdAt: number;
  expiresAt: number | null;
  /** Written at most once a minute, so a process that was killed may have lost the last one. */
  lastUsedAt: number | null;
  revokedAt: number | null;
}

/** A key just made or rotated. `secret` is the whole text of the key and exists only here. */
export interface IssuedKey {
  key: ApiKey;
  secret: string;
}

/** Who did an admin action, for the audit table. */
export interface Actor {
  /** Id and name of the admin token, or `system` for what the server does by itself. */
  id: string;
  name: string;
  requestId: string | null;
}

export interface NewTenant {
  name: string;
  metadata?: JsonObject | undefined;
  limits?: Partial<TenantLimits> | undefined;
}

/** Where a new tenant's data came from. */
export type TenantOrigin =
  | { action: 'tenant.create' }
  | { action: 'tenant.import' }
  | { action: 'tenant.clone'; sourceId: string };

/** Which tenants a list has. */
export interface TenantFilter {
  /** Default: whatever is not deleted. */
  status?: TenantStatus | undefined;
  /** Exactly this one; several may have it. Costs a look at each row. */
  name?: string | undefined;
}

/** What was done with a tenant's file, which control.db itself knows nothing of. */
export interface FileEvent {
  action: 'tenant.restore' | 'tenant.export' | 'backup.create';
  /** Null where it is about control.db. */
  tenantId: string | null;
  /** The backup's id, or the export's. */
  targetId: string;
  changes?: JsonObject;
}

/** What a finished copy of control.db is. */
export interface ControlCopy extends FileReport {
  /** Hexadecimal, over all that it holds, except for what the audit says of backups: else each would call for the next. */
  contentSha256: string;
}

/** A tenant as its file tells of it, where the row is lost. */
export interface FoundTenant {
  id: string;
  name: string;
  status: 'active' | 'deleted';
  createdAt: number;
}

/** As a `PATCH` body: `metadata` and `limits` are merged by key, null removes. */
export interface TenantPatch {
  name?: string | undefined;
  status?: 'active' | 'suspended' | undefined;
  metadata?: JsonObject | undefined;
  limits?: Partial<TenantLimits> | undefined;
}

export interface NewKey {
  name: string;
  /** All three when absent. */
  scopes?: Scope[] | undefined;
  expiresAt?: number | null | undefined;
}

export interface Rotation {
  /** How long the secret that is replaced goes on working; 0 ends it at once. */
  overlapMs: number;
  /** What the key may allow at most, for a caller who must not get more; absent: anything. */
  scopesMax?: readonly Scope[];
}

/** Whom a request speaks for. */
export interface TenantIdentity {
  tenant: Tenant;
  key: { id: string; name: string; scopes: Scope[] };
}

/**
 * control.db: which tenants exist and who may speak for them. Every verb is one transaction and every change
 * writes its audit row in the same one. Verbs throw `Fault('not_found')` for ids that are not there.
 */
export interface ControlPlane {
  /**
   * Adds the tenant with its first key (named `default`). The tenant's database must exist before.
   * @param origin `tenant.create` when absent.
   */
  addTenant(
    id: string,
    tenant: NewTenant,
    actor: Actor,
    origin?: TenantOrigin,
  ): { tenant: Tenant; issued: IssuedKey };
  /**
   * Adds a row for each tenant whose file is there and whose row is lost, with a first key unless it is deleted: all
   * of them or none. Metadata and limits stay lost.
   * @returns in the order given
   */
  adoptTenants(found: readonly FoundTenant[], actor: Actor): { tenant: Tenant; issued: IssuedKey | null }[];
  listTenants(filter: TenantFilter, page: Page): Listing<Tenant>;
  getTenant(id: string): Tenant;
  updateTenant(id: string, patch: TenantPatch, actor: Actor): Tenant;
  /** Counts by status; costs a look at an index. */
  countTenants(): Record<TenantStatus, number>;

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
   * The end of a purge: removes the row, the keys and what the audit says of them, names above all. Who did what and
   * when stays. `compact` is to follow.
   */
  endPurge(id: string, actor: Actor): void;
  /** After purges: writes control.db anew, so that no byte of what they removed is left in it. */
  compact(): void;
  /** Writes an audit row about a file. */
  recordFileEvent(event: FileEvent, actor: Actor): void;

  /** The ids of tenants, deleted ones apart, that no key opens: each is revoked or expired. */
  listKeyless(): string[];
  createKey(tenantId: string, key: NewKey, actor: Actor): IssuedKey;
  listKeys(tenantId: string, page: Page): Listing<ApiKey>;
  /**
   * Gives a key a new secret; all else of it stays. Of earlier secrets only the one replaced here may go on working,
   * until the overlap ends or the key does: one that an earlier rotation left working is dead when this returns.
   * @throws `not_found` for a revoked key, `insufficient_scope` for one that allows more than `scopesMax`,
   *   `validation_failed` for one that has expired.
   */
  rotateKey(tenantId: string, keyId: string, rotation: Rotation, actor: Actor): IssuedKey;
  /** @param options.keepManager refuses to take the tenant's last key that can manage keys; default false */
  revokeKey(tenantId: string, keyId: string, actor: Actor, options?: { keepManager: boolean }): void;

  /**
   * Whom the text of a key speaks for, read from the database at each call; undefined for a text that is
   * malformed, unknown, revoked or expired, or whose tenant is deleted. A suspended tenant is found.
   */
  findByKey(text: string): TenantIdentity | undefined;

  /**
   * The admin whose token this is, or undefined. Costs an argon2 verification unless the same token was
   * verified within minutes; its row is read each time all the same.
   * @throws `rate_limited` when this address has tried too often.
   */
  findAdmin(token: string, address: string): Promise<Actor | undefined>;
  /** Replaces the admin token. */
  setAdminToken(token: string): Promise<void>;
  /** Makes an admin token where there is none and gives its text, which exists only here; else null. */
  ensureAdminToken(): Promise<string | null>;
  /** False until the first start has come to its end. */
  hasAdminToken(): boolean;

  /**
   * Copies control.db, as of one moment and checked, into the new file `target`, off the event loop. On the disk when
   * this resolves; the caller removes what is left where it throws.
   */
  snapshot(target: string): Promise<ControlCopy>;
  /**
   * Lets `work` make new copies of earlier ones, as `snapshot` does, without the rows and names of these tenants.
   */
  copyWithout(
    tenantIds: readonly string[],
    work: (copy: (source: string, target: string) => Promise<FileReport>) => Promise<void>,
  ): Promise<void>;
  /** What is wrong with control.db, off the event loop; null where it is sound. */
  check(): Promise<string | null>;
  close(): void;
}
