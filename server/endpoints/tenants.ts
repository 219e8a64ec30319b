import { z } from 'zod';
import { TENANT_ORDERS, type Tenant } from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import type { MadeTenant } from '../operations/tenants.ts';
import {
  id,
  jsonObject,
  listOf,
  metadataInput,
  nameInput,
  pageOf,
  pageQuery,
  providerName,
  timestamp,
  toList,
} from './common.ts';
import { adminEndpoint, type Endpoint } from './endpoint.ts';
import { apiKey, keyJson } from './keys.ts';

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).nullable();

const limitFields = {
  requests_per_minute: count,
  tokens_per_minute: count,
  max_concurrent_turns: count,
  /** The sum is kept in whole micro-dollars, which bounds it. */
  monthly_spend_usd: z
    .number()
    .nonnegative()
    .max(1e9)
    .refine((usd) => Math.abs(usd * 1e6 - Math.round(usd * 1e6)) < 1e-3, 'must have at most 6 decimals')
    .nullable(),
  storage_bytes_max: count,
};
export const limits = z.strictObject({ ...limitFields, providers: z.array(z.string()).nullable() });
const limitsInput = z
  .strictObject({ ...limitFields, providers: z.array(providerName).max(100).nullable() })
  .partial();

export const settings = z.strictObject({
  /** Whether a log row keeps what was said in its turn. */
  log_content: z.boolean(),
  /** Whether what looks like a secret is replaced in it before it is kept. */
  redact_secrets: z.boolean(),
});
/** Null is the default again. */
const settingsInput = z
  .strictObject({ log_content: z.boolean().nullable(), redact_secrets: z.boolean().nullable() })
  .partial();

const status = z.enum(['active', 'suspended']);

const tenantRow = {
  id,
  name: z.string(),
  status: z.enum(['active', 'suspended', 'deleted']),
  metadata: jsonObject,
  limits,
  settings,
  created_at: timestamp,
  /** Only of a deleted tenant, which is purged some days after it. */
  deleted_at: timestamp.optional(),
};
export const tenant = z.strictObject(tenantRow);
export const newTenant = z.strictObject({ ...tenantRow, api_key: z.string(), key: apiKey });

const tenantInput = z.strictObject({
  name: nameInput,
  metadata: metadataInput.optional(),
  limits: limitsInput.optional(),
  settings: settingsInput.optional(),
});
const tenantPatch = z.strictObject({
  name: nameInput.optional(),
  status: status.optional(),
  metadata: metadataInput.optional(),
  limits: limitsInput.optional(),
  settings: settingsInput.optional(),
});

export const tenantJson = (row: Tenant): z.input<typeof tenant> => ({
  id: row.id,
  name: row.name,
  status: row.status,
  metadata: row.metadata,
  limits: row.limits,
  settings: row.settings,
  created_at: toTimestamp(row.createdAt),
  ...(row.deletedAt !== undefined && { deleted_at: toTimestamp(row.deletedAt) }),
});

export const newTenantJson = ({ tenant, issued }: MadeTenant): z.input<typeof newTenant> => ({
  ...tenantJson(tenant),
  api_key: issued.secret,
  key: keyJson(issued.key),
});

/** Without the members that are undefined, which a merge by key must not see. */
const given = <T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };

export const tenantSchemas = {
  Tenant: tenant,
  NewTenant: newTenant,
  TenantInput: tenantInput,
  TenantPatch: tenantPatch,
  Limits: limits,
  Settings: settings,
};

export const tenantEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'createTenant',
      group: 'Tenants',
      method: 'POST',
      path: '/api/v1/admin/tenants',
      summary: 'Make a tenant with a database file and a first key of its own; the key is shown this once',
      body: tenantInput,
      status: 201,
      response: newTenant,
    },
    async ({ body, actor, services: { operations } }) => {
      const limits = body.limits && given(body.limits);
      return newTenantJson(await operations.tenants.create({ ...body, limits }, actor));
    },
  ),
  adminEndpoint(
    {
      name: 'listTenants',
      group: 'Tenants',
      method: 'GET',
      path: '/api/v1/admin/tenants',
      summary:
        'List tenants, or those of exactly this `name` or with `search` in it; deleted ones only with `status=deleted`',
      query: z.strictObject({
        ...pageQuery(),
        status: tenantRow.status.optional(),
        name: nameInput.optional(),
        search: nameInput.optional(),
        order: z.enum(TENANT_ORDERS).optional(),
      }),
      response: listOf(tenant),
    },
    ({ query, services }) => {
      const { status, name, search, order } = query;
      return toList(services.control.listTenants({ status, name, search, order }, pageOf(query)), tenantJson);
    },
  ),
  adminEndpoint(
    {
      name: 'getTenant',
      group: 'Tenants',
      method: 'GET',
      path: '/api/v1/admin/tenants/:id',
      summary: 'Read a tenant',
      response: tenant,
    },
    ({ params, services }) => tenantJson(services.control.getTenant(params.id)),
  ),
  adminEndpoint(
    {
      name: 'updateTenant',
      group: 'Tenants',
      method: 'PATCH',
      path: '/api/v1/admin/tenants/:id',
      summary:
        'Rename, suspend or resume a tenant, or change its limits or settings, from its next request on',
      body: tenantPatch,
      response: tenant,
    },
    async ({ params, body, actor, services: { operations } }) => {
      const limits = body.limits && given(body.limits);
      return tenantJson(await operations.tenants.update(params.id, { ...body, limits }, actor));
    },
  ),
];
