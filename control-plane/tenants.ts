import { isDeepStrictEqual } from 'node:util';
import { and, asc, desc, eq, gt, lt, ne, type SQL, sql } from 'drizzle-orm';
import { notFound } from '../tenant-schema/fault.ts';
import { mergeByKey, mergeMetadata } from '../tenant-schema/json.ts';
import { decodeIdAndMore, decodeIdCursor, pageOf } from '../tenant-schema/page.ts';
import type { JsonObject, Listing, Page } from '../tenant-schema/store.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import { tenants } from './tables.ts';
import type {
  Actor,
  FoundTenant,
  NewTenant,
  Tenant,
  TenantFilter,
  TenantLimits,
  TenantOrder,
  TenantOrigin,
  TenantPatch,
  TenantSettings,
  TenantStatus,
} from './types.ts';

const UNLIMITED: TenantLimits = {
  requests_per_minute: null,
  tokens_per_minute: null,
  max_concurrent_turns: null,
  monthly_spend_usd: null,
  storage_bytes_max: null,
  providers: null,
};

const DEFAULT_SETTINGS: TenantSettings = { log_content: false, redact_secrets: true };

type TenantRow = typeof tenants.$inferSelect;

/** A row as the rest of the program sees it: every limit is named, null where there is none, and every setting. */
export function toTenant({ deletedAt, purging: _, statusBefore: __, ...row }: TenantRow): Tenant {
  return {
    ...row,
    limits: { ...UNLIMITED, ...row.limits },
    settings: { ...DEFAULT_SETTINGS, ...row.settings },
    ...(deletedAt !== null && { deletedAt }),
  };
}

export interface Tenants {
  /** Only inside a transaction. */
  insert(id: string, tenant: NewTenant, actor: Actor, origin: TenantOrigin): Tenant;
  /** Only inside a transaction: a row for a tenant whose file was found. */
  adopt(found: FoundTenant, actor: Actor): Tenant;
  list(filter: TenantFilter, page: Page): Listing<Tenant>;
  /** @throws `not_found` also for a deleted tenant. */
  get(id: string): Tenant;
  update(id: string, patch: TenantPatch, actor: Actor): Tenant;
  count(): Record<TenantStatus, number>;
}

export function createTenants({ db, clock, write }: ControlDatabase, audit: Audit): Tenants {
  const insert = db
    .insert(tenants)
    .values({
      id: sql.placeholder('id'),
      name: sql.placeholder('name'),
      status: sql.placeholder('status'),
      metadata: sql.placeholder('metadata'),
      limits: sql.placeholder('limits'),
      settings: sql.placeholder('settings'),
      createdAt: sql.placeholder('createdAt'),
      deletedAt: sql.placeholder('deletedAt'),
      purging: false,
    })
    .prepare();
  const selectLive = db
    .select()
    .from(tenants)
    .where(and(eq(tenants.id, sql.placeholder('id')), ne(tenants.status, 'deleted')))
    .prepare();

  function get(id: string): Tenant {
    const row = selectLive.get({ id });
    if (!row) throw notFound();
    return toTenant(row);
  }

  return {
    get,

    insert(id, { name, metadata = {}, limits = {}, settings = {} }, actor, origin) {
      const row: TenantRow = {
        id,
        name,
        status: 'active',
        metadata,
        limits: mergeByKey({}, limits),
        settings: mergeByKey({}, settings),
        createdAt: clock.now(),
        deletedAt: null,
        purging: false,
        statusBefore: null,
      };
      insert.run(row);
      const tenant = toTenant(row);
      audit({
        actor,
        action: origin.action,
        tenantId: id,
        targetId: id,
        changes: {
          ...(origin.action === 'tenant.clone' && { source_id: origin.sourceId }),
          ...describeChanges({ metadata: {}, limits: UNLIMITED, settings: DEFAULT_SETTINGS }, tenant),
        },
      });
      return tenant;
    },

    adopt({ id, name, status, createdAt }, actor) {
      const deletedAt = status === 'deleted' ? clock.now() : null;
      const row: TenantRow = {
        id,
        name,
        status,
        metadata: {},
        limits: {},
        settings: {},
        createdAt,
        deletedAt,
        purging: false,
        statusBefore: null,
      };
      insert.run(row);
      audit({ actor, action: 'tenant.adopt', tenantId: id, targetId: id, changes: { name, status } });
      return toTenant(row);
    },

    list({ status, name, search, order = 'newest' }, page) {
      const { after, by, keyOf } = ORDERS[order];
      const rows = db
        .select()
        .from(tenants)
        .where(
          and(
            page.cursor === null ? undefined : after(page.cursor),
            status === undefined ? ne(tenants.status, 'deleted') : eq(tenants.status, status),
            name === undefined ? undefined : eq(tenants.name, name),
            search === undefined ? undefined : sql`instr(lower(${tenants.name}), lower(${search})) > 0`,
          ),
        )
        .orderBy(...by)
        .limit(page.limit + 1)
        .all();
      return pageOf(rows.map(toTenant), page.limit, keyOf);
    },

    update: (id, patch, actor) =>
      write(() => {
        const before = get(id);
        const after: Tenant = {
          ...before,
          name: patch.name ?? before.name,
          status: patch.status ?? before.status,
          metadata: mergeMetadata(before.metadata, patch.metadata ?? {}),
          limits: { ...UNLIMITED, ...mergeByKey(before.limits, patch.limits ?? {}) },
          settings: { ...DEFAULT_SETTINGS, ...mergeByKey(before.settings, patch.settings ?? {}) },
        };
        const changes = describeChanges(before, after);
        if (Object.keys(changes).length === 0) return before;
        db.update(tenants)
          .set({
            name: after.name,
            status: after.status,
            metadata: after.metadata,
            limits: mergeByKey({}, after.limits),
            settings: after.settings,
          })
          .where(eq(tenants.id, id))
          .run();
        audit({ actor, action: 'tenant.update', tenantId: id, targetId: id, changes });
        return after;
      }),

    count() {
      const rows = db
        .select({ status: tenants.status, count: sql<number>`count(*)` })
        .from(tenants)
        .groupBy(tenants.status)
        .all();
      const counts: Record<TenantStatus, number> = { active: 0, suspended: 0, deleted: 0 };
      for (const { status, count } of rows) counts[status] = count;
      return counts;
    },
  };
}

interface Order {
  /** What comes behind a cursor. @throws `validation_failed` for one of another list. */
  after(cursor: string): SQL;
  by: SQL[];
  /** What a cursor is made of. */
  keyOf(tenant: Tenant): string;
}

const folded = sql`lower(${tenants.name})`;

const ORDERS: Record<TenantOrder, Order> = {
  newest: {
    after: (cursor) => lt(tenants.id, decodeIdCursor(cursor)),
    by: [desc(tenants.id)],
    keyOf: ({ id }) => id,
  },
  oldest: {
    after: (cursor) => gt(tenants.id, decodeIdCursor(cursor)),
    by: [asc(tenants.id)],
    keyOf: ({ id }) => id,
  },
  name: {
    after(cursor) {
      // The name may have changed since: the cursor has the one that the page ended with, behind the id.
      const { id, rest } = decodeIdAndMore(cursor);
      return sql`(${folded}, ${tenants.id}) > (lower(${rest}), ${id})`;
    },
    by: [asc(folded), asc(tenants.id)],
    keyOf: ({ id, name }) => `${id}${name}`,
  },
};

type Described = Pick<Tenant, 'metadata' | 'limits' | 'settings'> & Partial<Tenant>;

/** What differs, from what to what. Of metadata only the keys: its values are a client's, and may be secret. */
function describeChanges(before: Described, after: Described): JsonObject {
  const changes: JsonObject = {};
  for (const field of ['name', 'status'] as const) {
    if (before[field] !== after[field]) changes[field] = { from: before[field] ?? null, to: after[field] };
  }
  const limits = changedKeys(before.limits, after.limits);
  if (limits.length > 0) {
    changes.limits = Object.fromEntries(
      limits.map((key) => [key, { from: before.limits[key], to: after.limits[key] }]),
    );
  }
  const settings = changedKeys(before.settings, after.settings);
  if (settings.length > 0) {
    changes.settings = Object.fromEntries(
      settings.map((key) => [key, { from: before.settings[key], to: after.settings[key] }]),
    );
  }
  const metadata = changedKeys(before.metadata, after.metadata);
  if (metadata.length > 0) changes.metadata = metadata;
  return changes;
}

function changedKeys<T extends object>(before: T, after: T): (keyof T & string)[] {
  const keys: Set<string> = new Set([...Object.keys(before), ...Object.keys(after)]);
  const own = (object: T, key: string) => Object.getOwnPropertyDescriptor(object, key)?.value;
  return [...keys].filter(
    (key): key is keyof T & string => !isDeepStrictEqual(own(before, key), own(after, key)),
  );
}
