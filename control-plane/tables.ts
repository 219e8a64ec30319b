import { blob, index, integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import type { JsonObject } from '../tenant-schema/store.ts';
import type { Scope, TenantLimits, TenantStatus } from './types.ts';

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
});

export const audit = sqliteTable('audit', {
  id: text('id').primaryKey(),
  at: integer('at').notNull(),
  actorId: text('actor_id').notNull(),
  actorName: text('actor_name').notNull(),
  action: text('action').notNull(),
  tenantId: text('tenant_id'),
  targetId: text('target_id'),
  requestId: text('request_id'),
  changes: text('changes', { mode: 'json' }).$type<JsonObject>(),
});
