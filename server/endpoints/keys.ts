import { z } from 'zod';
import {
  type Actor,
  type ApiKey,
  type IssuedKey,
  SCOPES,
  type TenantIdentity,
} from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import {
  checkExpiry,
  id,
  listOf,
  nameInput,
  optionalTime,
  pageOf,
  pageQuery,
  timeInput,
  timestamp,
  toList,
} from './common.ts';
import { adminEndpoint, type Endpoint, tenantEndpoint } from './endpoint.ts';

const scopes = z.array(z.enum(SCOPES));

const keyRow = {
  id,
  name: z.string(),
  prefix: z.string(),
  scopes,
  created_at: timestamp,
  expires_at: timestamp.nullable(),
  last_used_at: timestamp.nullable(),
  revoked_at: timestamp.nullable(),
};
export const apiKey = z.strictObject(keyRow);
const newApiKey = z.strictObject({ ...keyRow, api_key: z.string() });

const keyInput = z.strictObject({
  name: nameInput,
  scopes: scopes
    .min(1)
    .refine((list) => new Set(list).size === list.length, 'must not name a scope twice')
    .optional(),
  expires_at: timeInput.nullable().optional(),
});

const OVERLAP_DAYS_MAX = 30;

const rotationInput = z.strictObject({
  overlap_seconds: z
    .int()
    .min(0)
    .max(OVERLAP_DAYS_MAX * 86_400)
    .default(0),
});

export const keyJson = (key: ApiKey): z.input<typeof apiKey> => ({
  id: key.id,
  name: key.name,
  prefix: key.prefix,
  scopes: key.scopes,
  created_at: toTimestamp(key.createdAt),
  expires_at: optionalTime(key.expiresAt),
  last_used_at: optionalTime(key.lastUsedAt),
  revoked_at: optionalTime(key.revokedAt),
});

const issuedJson = ({ key, secret }: IssuedKey): z.input<typeof newApiKey> => ({
  ...keyJson(key),
  api_key: secret,
});

export const keySchemas = {
  ApiKey: apiKey,
  NewApiKey: newApiKey,
  ApiKeyInput: keyInput,
  ApiKeyRotation: rotationInput,
};

export const keyEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'createTenantKey',
      group: 'Tenants',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/keys',
      summary: 'Make a key for a tenant; its text is shown this once',
      body: keyInput,
      status: 201,
      response: newApiKey,
    },
    ({ params, body, actor, services }) => {
      checkExpiry(body.expires_at, services.clock);
      const { name, scopes, expires_at } = body;
      const issued = services.control.createKey(params.id, { name, scopes, expiresAt: expires_at }, actor);
      return issuedJson(issued);
    },
  ),
  adminEndpoint(
    {
      name: 'listTenantKeys',
      group: 'Tenants',
      method: 'GET',
      path: '/api/v1/admin/tenants/:id/keys',
      summary: "List a tenant's keys",
      query: z.strictObject(pageQuery()),
      response: listOf(apiKey),
    },
    async ({ params, query, services }) => {
      await services.gather();
      return toList(services.control.listKeys(params.id, pageOf(query)), keyJson);
    },
  ),
  adminEndpoint(
    {
      name: 'rotateTenantKey',
      group: 'Tenants',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/keys/:key_id/rotate',
      summary:
        'Give a key a new secret, shown this once; the one before works for `overlap_seconds` more, any older one no more',
      body: rotationInput,
      bodyOptional: true,
      response: newApiKey,
    },
    ({ params, body, actor, services }) => {
      const overlapMs = body.overlap_seconds * 1000;
      return issuedJson(services.control.rotateKey(params.id, params.key_id, { overlapMs }, actor));
    },
  ),
  adminEndpoint(
    {
      name: 'revokeTenantKey',
      group: 'Tenants',
      method: 'DELETE',
      path: '/api/v1/admin/tenants/:id/keys/:key_id',
      summary: 'Revoke a key: it is refused from the next request on',
      status: 204,
    },
    ({ params, actor, services }) => services.control.revokeKey(params.id, params.key_id, actor),
  ),
  tenantEndpoint(
    {
      name: 'createKey',
      group: 'Keys',
      method: 'POST',
      path: '/api/v1/keys',
      scope: 'manage',
      summary:
        "Make a key of one's own tenant, with no more scopes than one's own; its text is shown this once",
      body: keyInput,
      status: 201,
      response: newApiKey,
    },
    ({ body, identity, requestId, services }) => {
      checkExpiry(body.expires_at, services.clock);
      const { name, scopes = identity.key.scopes, expires_at } = body;
      const missing = scopes.filter((scope) => !identity.key.scopes.includes(scope));
      if (missing.length > 0) {
        throw new Fault('insufficient_scope', `A key cannot give what it has not: ${missing.join(', ')}.`);
      }
      const key = { name, scopes, expiresAt: expires_at };
      const issued = services.control.createKey(identity.tenant.id, key, actorOf(identity, requestId));
      return issuedJson(issued);
    },
  ),
  tenantEndpoint(
    {
      name: 'listKeys',
      group: 'Keys',
      method: 'GET',
      path: '/api/v1/keys',
      scope: 'manage',
      summary: "List the keys of one's own tenant",
      query: z.strictObject(pageQuery()),
      response: listOf(apiKey),
    },
    async ({ query, identity, services }) => {
      await services.gather();
      return toList(services.control.listKeys(identity.tenant.id, pageOf(query)), keyJson);
    },
  ),
  tenantEndpoint(
    {
      name: 'rotateKey',
      group: 'Keys',
      method: 'POST',
      path: '/api/v1/keys/:key_id/rotate',
      scope: 'manage',
      summary:
        "Give a key of one's own tenant, this one or one with no more scopes, a new secret, shown this once; the one " +
        'before works for `overlap_seconds` more, any older one no more',
      body: rotationInput,
      bodyOptional: true,
      response: newApiKey,
    },
    ({ params, body, identity, requestId, services }) => {
      const rotation = { overlapMs: body.overlap_seconds * 1000, scopesMax: identity.key.scopes };
      const actor = actorOf(identity, requestId);
      return issuedJson(services.control.rotateKey(identity.tenant.id, params.key_id, rotation, actor));
    },
  ),
  tenantEndpoint(
    {
      name: 'revokeKey',
      group: 'Keys',
      method: 'DELETE',
      path: '/api/v1/keys/:key_id',
      scope: 'manage',
      summary: "Revoke a key of one's own tenant, but not its last one that can manage keys",
      status: 204,
    },
    ({ params, identity, requestId, services }) =>
      services.control.revokeKey(identity.tenant.id, params.key_id, actorOf(identity, requestId), {
        keepManager: true,
      }),
  ),
];

/** A tenant's own key as the one who acts, for the audit table. */
export const actorOf = ({ key }: TenantIdentity, requestId: string): Actor => ({
  id: key.id,
  name: key.name,
  requestId,
});
