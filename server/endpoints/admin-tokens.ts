import { z } from 'zod';
import { ADMIN_ROLES, type AdminToken } from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import { id, listOf, nameInput, optionalTime, pageOf, pageQuery, timestamp, toList } from './common.ts';
import { adminEndpoint, type Endpoint } from './endpoint.ts';

const role = z.enum(ADMIN_ROLES);

const tokenRow = {
  id,
  name: z.string(),
  role,
  created_at: timestamp,
  last_used_at: timestamp.nullable(),
  revoked_at: timestamp.nullable(),
};
const adminToken = z.strictObject(tokenRow);
const newAdminToken = z.strictObject({ ...tokenRow, token: z.string() });
const adminTokenInput = z.strictObject({ name: nameInput, role });

const rotationInput = z.strictObject({
  /** Gives up the provider keys that the master key does not open, instead of a refusal. */
  drop_unopenable: z.boolean().optional(),
});
const rotated = z.strictObject({
  /** Provider keys that are sealed with the new master key now. */
  resealed: z.int().nonnegative(),
  dropped: z.int().nonnegative(),
});

const tokenJson = (token: AdminToken): z.input<typeof adminToken> => ({
  id: token.id,
  name: token.name,
  role: token.role,
  created_at: toTimestamp(token.createdAt),
  last_used_at: optionalTime(token.lastUsedAt),
  revoked_at: optionalTime(token.revokedAt),
});

export const adminTokenSchemas = {
  AdminToken: adminToken,
  NewAdminToken: newAdminToken,
  AdminTokenInput: adminTokenInput,
  MasterKeyRotation: rotationInput,
  MasterKeyRotated: rotated,
};

/** Who may do what with the whole server; for owners only. */
export const adminTokenEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'createAdminToken',
      group: 'Admin access',
      method: 'POST',
      path: '/api/v1/admin/tokens',
      role: 'owner',
      summary:
        'Make an admin token, shown this once. `auditor`: every GET that gives no data of a tenant; `operator`: all ' +
        'but admin tokens and the master key; `owner`: everything',
      body: adminTokenInput,
      status: 201,
      response: newAdminToken,
      faults: ['already_exists'],
    },
    async ({ body, actor, services }) => {
      const { token, secret } = await services.control.createAdminToken(body, actor);
      return { ...tokenJson(token), token: secret };
    },
  ),
  adminEndpoint(
    {
      name: 'listAdminTokens',
      group: 'Admin access',
      method: 'GET',
      path: '/api/v1/admin/tokens',
      role: 'owner',
      summary: 'List admin tokens, revoked ones too',
      query: z.strictObject(pageQuery()),
      response: listOf(adminToken),
    },
    ({ query, services }) => toList(services.control.listAdminTokens(pageOf(query)), tokenJson),
  ),
  adminEndpoint(
    {
      name: 'revokeAdminToken',
      group: 'Admin access',
      method: 'DELETE',
      path: '/api/v1/admin/tokens/:id',
      role: 'owner',
      summary:
        'Revoke an admin token, but not the last one of an owner: it is refused from the next request on',
      status: 204,
    },
    ({ params, actor, services }) => services.control.revokeAdminToken(params.id, actor),
  ),
  adminEndpoint(
    {
      name: 'rotateMasterKey',
      group: 'Admin access',
      method: 'POST',
      path: '/api/v1/admin/master-key/rotate',
      role: 'owner',
      summary: "Make a new master key and seal every tenant's provider keys with it",
      body: rotationInput,
      bodyOptional: true,
      response: rotated,
      faults: ['provider_not_configured'],
    },
    ({ body, actor, services }) =>
      services.masterKeys.rotate({ dropUnopenable: body.drop_unopenable ?? false }, actor),
  ),
];
