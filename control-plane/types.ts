import type { FileReport } from '../tenant-schema/engine.ts';
import type { JsonObject, Listing, Page, TimeRange, UsageDay } from '../tenant-schema/store.ts';
import type { MasterKey } from './master-key.ts';

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

/** How a tenant's logs are kept. */
export interface TenantSettings {
  /** Whether a log row keeps what was said in its turn. */
  log_content: boolean;
  /** Whether what looks like a secret is replaced in it before it is kept. */
  redact_secrets: boolean;
}

export interface Tenant {
  id: string;
  name: string;
  status: TenantStatus;
  metadata: JsonObject;
  limits: TenantLimits;
  settings: TenantSettings;
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

/**
 * What an admin token allows. `auditor`: every GET that gives no tenant's data away. `operator`: all but admin tokens
 * and the master key. `owner`: everything.
 */
export type AdminRole = 'owner' | 'operator' | 'auditor';
/** Each allows what those before it do. */
export const ADMIN_ROLES: readonly AdminRole[] = ['auditor', 'operator', 'owner'];

/** An admin token as it is listed: nothing in it opens anything. */
export interface AdminToken {
  id: string;
  name: string;
  role: AdminRole;
  createdAt: number;
  /** Written at most once a minute. */
  lastUsedAt: number | null;
  revokedAt: number | null;
}

/** A tenant's own key at a provider, as it is listed. */
export interface ProviderKey {
  /** The provider's. */
  name: string;
  /** Its last four characters; empty where it has fewer than twelve. */
  last4: string;
  updatedAt: number;
}

/** What becomes of a sealed key that no master key at hand opens. */
export type Unopenable = 'refuse' | 'drop' | 'keep';

/** How many provider keys were sealed anew, and how many were removed because nothing opens them. */
export interface Reseal {
  resealed: number;
  dropped: number;
}

export interface ProviderKeysCheck {
  sealed: number;
  /** Of those, how many no master key at hand opens, and whose they are. */
  unopenable: number;
  tenantIds: string[];
}

/** Who did an admin action, for the audit table. */
export interface Actor {
  /** Id and name of the admin token, or `system` for what the server does by itself. */
  id: string;
  name: string;
  requestId: string | null;
}

/** Whose an admin token is, and what it allows. */
export interface Admin extends Actor {
  role: AdminRole;
}

/** `key`: a tenant's own. `system`: what the server does by itself. */
export type ActorKind = 'admin' | 'key' | 'system';

export type AuditAction =
  | 'tenant.create'
  | 'tenant.adopt'
  | 'tenant.update'
  | 'tenant.clone'
  | 'tenant.import'
  | 'tenant.delete'
  | 'tenant.undelete'
  | 'tenant.purge'
  | 'key.create'
  | 'key.rotate'
  | 'key.revoke'
  | 'provider_key.put'
  | 'provider_key.delete'
  | 'admin_token.create'
  | 'admin_token.replace'
  | 'admin_token.revoke'
  | 'master_key.rotate'
  | FileEvent['action'];

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
  action?: string | undefined;
}

export interface AuditVerdict {
  rows: number;
  /** The first place where the audit is not what was written; the id is null where rows are missing at its end. */
  broken: { id: string | null; reason: string } | null;
}

/** What one tenant used on one UTC day. */
export interface TenantUsageDay {
  tenantId: string;
  usage: UsageDay;
}

/** Whole UTC days as `YYYY-MM-DD`: from `since` on, up to but without `until`. */
export interface UsageFilter {
  tenantId?: string | undefined;
  since?: string | undefined;
  until?: string | undefined;
}

/** A sum of days; what it is not by is null. */
export interface AdminUsageSum extends Omit<UsageDay, 'day'> {
  tenantId: string | null;
  day: string | null;
}

/** Whether all that was used is in control.db, and up to when (epoch milliseconds) it is in any case. */
export interface UsageState {
  complete: boolean;
  completeUntil: number;
}

/** Settings as they are given: null is the default again. */
export type TenantSettingsInput = { [K in keyof TenantSettings]?: TenantSettings[K] | null | undefined };

export interface NewTenant {
  name: string;
  metadata?: JsonObject | undefined;
  limits?: Partial<TenantLimits> | undefined;
  settings?: TenantSettingsInput | undefined;
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

/** What was done with files, which control.db itself knows nothing of. */
export interface FileEvent {
  action:
    | 'tenant.restore'
    | 'tenant.export'
    | 'tenant.quiesce'
    | 'backup.create'
    | 'backup.download'
    | 'fleet.migrate'
    | 'doctor.fix'
    | 'logs.prune'
    | 'usage.rebuild';
  /** Null where it is about all of them, or about control.db. */
  tenantId: string | null;
  /** The backup's id, or the export's; by default the tenant's. */
  targetId?: string;
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

/** As a `PATCH` body: `metadata`, `limits` and `settings` are merged by key, null removes. */
export interface TenantPatch {
  name?: string | undefined;
  status?: 'active' | 'suspended' | undefined;
  metadata?: JsonObject | undefined;
  limits?: Partial<TenantLimits> | undefined;
  settings?: TenantSettingsInput | undefined;
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
  /** Writes an audit row about a file, or about all of them. */
  recordFileEvent(event: FileEvent, actor: Actor): void;
  /** The audit, newest first. */
  listAudit(filter: AuditFilter, page: Page): Listing<AuditEvent>;
  /** Follows the audit's chain of hashes from its first row to its last, a batch at a time. */
  verifyAudit(): Promise<AuditVerdict>;

  /** Adds to what tenants used, in one transaction; that of tenants that are not there is dropped. */
  addUsage(rows: readonly TenantUsageDay[]): void;
  /** Sets what a tenant used, day by day, to exactly this. Nothing happens for one that is not there. */
  replaceUsage(tenantId: string, days: readonly UsageDay[]): void;
  /** By tenant and day, newest day first. */
  listUsage(filter: UsageFilter, page: Page): Listing<AdminUsageSum>;
  /** By day, newest first, over all tenants or one. */
  sumUsageByDay(filter: UsageFilter, page: Page): Listing<AdminUsageSum>;
  /** By tenant, newest first. */
  sumUsageByTenant(filter: UsageFilter, page: Page): Listing<AdminUsageSum>;
  usageState(): UsageState;
  setUsageState(state: UsageState): void;

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
  /** @param options.keepManager refuses to leave the tenant without another key that can manage keys for at least as long; default false */
  revokeKey(tenantId: string, keyId: string, actor: Actor, options?: { keepManager: boolean }): void;

  /**
   * Whom the text of a key speaks for, read from the database at each call; undefined for a text that is
   * malformed, unknown, revoked or expired, or whose tenant is deleted. A suspended tenant is found.
   */
  findByKey(text: string): TenantIdentity | undefined;

  /**
   * Puts a tenant's own key at a provider in the place of the one before.
   * @throws `provider_not_configured` while there is no master key
   */
  putProviderKey(tenantId: string, provider: string, apiKey: string, actor: Actor): ProviderKey;
  /** The latest change first. */
  listProviderKeys(tenantId: string, page: Page): Listing<ProviderKey>;
  getProviderKey(tenantId: string, provider: string): ProviderKey;
  deleteProviderKey(tenantId: string, provider: string, actor: Actor): void;
  /**
   * The text of a tenant's own key, for a call of that provider and for nothing else; null where it has none. Read at
   * each call, for about 20 µs, and kept nowhere.
   * @throws `provider_not_configured` where it is there and no master key opens it
   */
  openProviderKey(tenantId: string, provider: string): string | null;
  /** From now on the one master key seals provider keys, and both open them; at first there is none. */
  unlockProviderKeys(current: MasterKey | null, previous?: MasterKey | null): void;
  /**
   * Seals every provider key with `next`, in one transaction. To be followed by `unlockProviderKeys`.
   * @param unopenable `refuse` changes nothing where there is one that nothing opens
   */
  resealProviderKeys(next: MasterKey, unopenable: Unopenable, actor: Actor): Reseal;
  /** How many provider keys there are, or how many one master key has sealed. */
  countProviderKeys(masterKeyId?: string): number;
  /** Opens every provider key, in batches between which the event loop goes on. */
  checkProviderKeys(): Promise<ProviderKeysCheck>;

  /**
   * The admin whose token this is, or undefined. A right token is found whatever else has been tried, also from the
   * same address; its row is read each time. Most wrong ones are told without an argon2 verification.
   * @throws `rate_limited` for a wrong token, or for one that only argon2 can tell, when this address has tried too many
   */
  findAdmin(token: string, address: string): Promise<Admin | undefined>;
  /** Makes an admin token; its text exists only here. @throws `already_exists` for the name of the stored one */
  createAdminToken(
    token: { name: string; role: AdminRole },
    actor: Actor,
  ): Promise<{ token: AdminToken; secret: string }>;
  listAdminTokens(page: Page): Listing<AdminToken>;
  /** Dead when this returns. @throws `validation_failed` for the last one with the role `owner` */
  revokeAdminToken(id: string, actor: Actor): void;
  /** Replaces the stored token, the one of the name `admin`, by a text that the operator has chosen. */
  setAdminToken(token: string): Promise<void>;
  /** Makes the stored token where no owner's is in force and gives its text, which exists only here; else null. */
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
