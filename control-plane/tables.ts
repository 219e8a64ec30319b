import { blob, index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';
import type { JsonObject } from '../tenant-schema/store.ts';
import type { ActorKind, AdminRole, Scope, TenantLimits, TenantSettings, TenantStatus } from './types.ts';

// How drizzle sees what migrations.ts makes; a test compares the two. Times are epoch milliseconds.

export const tenants = sqliteTable(
  'tenants',
  {
    id: text('id').primaryKey(),
    name: text('name').notNull(),
    status: text('status').$type<TenantStatus>().notNull(),
    metadata: text('metadata', { mode: 'json' }).$type<JsonObject>().notNull(),
    /** Only the limits that are set. */
    limits: text('limits', { mode: 'json' }).$type<Partial<TenantLimits>>().notNull(),
    /** Those that were given; the others are as `tenants.ts` has them. */
    settings: text('settings', { mode: 'json' }).$type<Partial<TenantSettings>>().notNull(),
    createdAt: integer('created_at').notNull(),
    /** Set where the status is `deleted`. */
    deletedAt: integer('deleted_at'),
    /** Its files are being removed for good: there is no way back, and a start of the server goes on with it. */
    purging: integer('purging', { mode: 'boolean' }).notNull().default(false),
    /** What a deleted tenant comes back as; null is `active`. */
    statusBefore: text('status_before').$type<Exclude<TenantStatus, 'deleted'>>(),
  },
  (table) => [index('tenants_by_status').on(table.status, table.id)],
);

export const apiKeys = sqliteTable(
  'api_keys',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id')
      .notNull()
      .references(() => tenants.id),
    name: text('name').notNull(),
    scopes: text('scopes', { mode: 'json' }).$type<Scope[]>().notNull(),
    salt: blob('salt', { mode: 'buffer' }).notNull(),
    /** SHA-256 over the salt and the secret. */
    hash: blob('hash', { mode: 'buffer' }).notNull(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at'),
    lastUsedAt: integer('last_used_at'),
    revokedAt: integer('revoked_at'),
    /** The secret before the last rotation, while it still works: all three are set, or none. */
    replacedSalt: blob('replaced_salt', { mode: 'buffer' }),
    replacedHash: blob('replaced_hash', { mode: 'buffer' }),
    /** The first moment at which it does not work any more. */
    replacedUntil: integer('replaced_until'),
  },
  (table) => [index('api_keys_by_tenant').on(table.tenantId, table.id)],
);

export const adminTokens = sqliteTable('admin_tokens', {
  id: text('id').primaryKey(),
  name: text('name').notNull(),
  /** argon2id in its PHC text form, parameters and salt included. */
  hash: text('hash').notNull(),
  createdAt: integer('created_at').notNull(),
  role: text('role').$type<AdminRole>().notNull().default('owner'),
  lastUsedAt: integer('last_used_at'),
  revokedAt: integer('revoked_at'),
  /** A salt and two bytes of a digest; null where the text was chosen by somebody: it would help to guess it. */
  tag: blob('tag', { mode: 'buffer' }),
});

/** Who is signed in to the console: by an admin token or by a tenant's key, one of the two. */
export const sessions = sqliteTable(
  'sessions',
  {
    id: text('id').primaryKey(),
    salt: blob('salt', { mode: 'buffer' }).notNull(),
    /** SHA-256 over the salt and the secret in the cookie. */
    hash: blob('hash', { mode: 'buffer' }).notNull(),
    adminTokenId: text('admin_token_id').references(() => adminTokens.id, { onDelete: 'cascade' }),
    apiKeyId: text('api_key_id').references(() => apiKeys.id, { onDelete: 'cascade' }),
    /** Of the key's secret that was given. */
    apiKeyHash: blob('api_key_hash', { mode: 'buffer' }),
    createdAt: integer('created_at').notNull(),
    /** At most a minute behind, or a quarter of the time without a request after which it ends. */
    lastUsedAt: integer('last_used_at').notNull(),
  },
  (table) => [
    index('sessions_by_admin_token').on(table.adminTokenId, table.id),
    index('sessions_by_api_key').on(table.apiKeyId, table.id),
  ],
);

/** Tenants' own keys at providers. */
export const providerKeys = sqliteTable(
  'provider_keys',
  {
    tenantId: text('tenant_id')
      .notNull()
      .references(() => tenants.id),
    provider: text('provider').notNull(),
    sealed: blob('sealed', { mode: 'buffer' }).notNull(),
    masterKeyId: text('master_key_id').notNull(),
    last4: text('last4').notNull(),
    updatedAt: integer('updated_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.provider] })],
);

export const audit = sqliteTable(
  'audit',
  {
    id: text('id').primaryKey(),
    at: integer('at').notNull(),
    actorId: text('actor_id').notNull(),
    actorName: text('actor_name').notNull(),
    actorKind: text('actor_kind').$type<ActorKind>().notNull(),
    action: text('action').notNull(),
    tenantId: text('tenant_id'),
    targetId: text('target_id'),
    requestId: text('request_id'),
    /** JSON as it was hashed; `{}` once the tenant is purged. */
    changes: text('changes'),
    seq: integer('seq'),
    privateSalt: blob('private_salt', { mode: 'buffer' }),
    privateHash: blob('private_hash', { mode: 'buffer' }),
    hash: blob('hash', { mode: 'buffer' }),
  },
  (table) => [
    uniqueIndex('audit_by_seq').on(table.seq),
    index('audit_by_tenant').on(table.tenantId, table.id),
    index('audit_by_actor').on(table.actorId, table.id),
    index('audit_by_actor_name').on(table.actorName, table.id),
    index('audit_by_action').on(table.action, table.id),
  ],
);

export const auditHead = sqliteTable('audit_head', {
  id: integer('id').primaryKey(),
  seq: integer('seq').notNull(),
  hash: blob('hash', { mode: 'buffer' }).notNull(),
});

const usageColumns = () => ({
  turns: integer('turns').notNull(),
  errors: integer('errors').notNull(),
  inputTokens: integer('input_tokens').notNull(),
  outputTokens: integer('output_tokens').notNull(),
  cachedInputTokens: integer('cached_input_tokens').notNull(),
  cacheWriteInputTokens: integer('cache_write_input_tokens').notNull(),
  reasoningTokens: integer('reasoning_tokens').notNull(),
  /** The sum of the costs that are known. */
  costMicroUsd: integer('cost_micro_usd').notNull(),
  unpricedTurns: integer('unpriced_turns').notNull(),
});

export const usageDays = sqliteTable(
  'usage_days',
  {
    tenantId: text('tenant_id')
      .notNull()
      .references(() => tenants.id),
    /** `YYYY-MM-DD`, UTC. */
    day: text('day').notNull(),
    ...usageColumns(),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.day] }),
    index('usage_by_day').on(table.day, table.tenantId),
  ],
);

/** Kept by triggers on `usage_days`. */
export const usageDayTotals = sqliteTable('usage_day_totals', {
  day: text('day').primaryKey(),
  ...usageColumns(),
});

export const usageState = sqliteTable('usage_state', {
  id: integer('id').primaryKey(),
  complete: integer('complete', { mode: 'boolean' }).notNull(),
  completeUntil: integer('complete_until').notNull(),
});
