import type { JsonObject, Listing, Page } from '../../tenant-schema/store.ts';
import type { Actor } from './admins.ts';
import type { IssuedKey, Scope } from './api-keys.ts';

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

/** Whom a request speaks for. */
export interface TenantIdentity {
  tenant: Tenant;
  key: { id: string; name: string; scopes: Scope[] };
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

/** As a `PATCH` body: `metadata`, `limits` and `settings` are merged by key, null removes. */
export interface TenantPatch {
  name?: string | undefined;
  status?: 'active' | 'suspended' | undefined;
  metadata?: JsonObject | undefined;
  limits?: Partial<TenantLimits> | undefined;
  settings?: TenantSettingsInput | undefined;
}

/** Which tenants a list has. */
export interface TenantFilter {
  /** Default: whatever is not deleted. */
  status?: TenantStatus | undefined;
  /** Exactly this one; several may have it. Costs a look at each row. */
  name?: string | undefined;
  /** Those whose name has this in it, whatever the case of its ASCII letters. Costs a look at each row. */
  search?: string | undefined;
  /** `newest` when absent. By name costs sorting all that fit. */
  order?: TenantOrder | undefined;
}

export const TENANT_ORDERS = ['newest', 'oldest', 'name'] as const;
/** By name: whatever the case of its ASCII letters. */
export type TenantOrder = (typeof TENANT_ORDERS)[number];

/** A tenant as its file tells of it, where the row is lost. */
export interface FoundTenant {
  id: string;
  name: string;
  status: 'active' | 'deleted';
  createdAt: number;
}

/** Which tenants exist, and for which of them a key speaks. */
export interface TenantVerbs {
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
  /**
   * Whom the text of a key speaks for, read from the database at each call; undefined for a text that is
   * malformed, unknown, revoked or expired, or whose tenant is deleted. A suspended tenant is found.
   */
  findByKey(text: string): TenantIdentity | undefined;
}
