import { z } from 'zod';
import type { Actor, ProviderKey } from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import { invalid } from '../../tenant-schema/fault.ts';
import { PROVIDERS, type ProviderName } from '../providers/catalogue.ts';
import { listOf, pageOf, pageQuery, providerName, timestamp, toList } from './common.ts';
import { adminEndpoint, type Endpoint, type Services, tenantEndpoint } from './endpoint.ts';
import { actorOf } from './keys.ts';

const KEY_CHARS_MAX = 4096;

const providerKey = z.strictObject({
  name: providerName,
  /** The last four characters of the key; empty where it has fewer than eight. */
  last4: z.string().max(4),
  updated_at: timestamp,
});
const providerKeyInput = z.strictObject({
  api_key: z
    .string()
    .regex(
      new RegExp(`^[\\x21-\\x7e]{1,${KEY_CHARS_MAX}}$`),
      `must be 1 to ${KEY_CHARS_MAX} printable ASCII characters without blanks`,
    ),
});

const providerKeyJson = ({ name, last4, updatedAt }: ProviderKey): z.input<typeof providerKey> => ({
  // Only such a name gets past the path.
  name: name as ProviderName,
  last4,
  updated_at: toTimestamp(updatedAt),
});

function put({ control }: Services, tenantId: string, name: string, apiKey: string, actor: Actor) {
  if (PROVIDERS[name as ProviderName].baseUrl === null) {
    control.getTenant(tenantId);
    throw invalid([{ path: 'name', message: `is the provider "${name}", which takes no key` }]);
  }
  return providerKeyJson(control.putProviderKey(tenantId, name, apiKey, actor));
}

const params = { name: providerName };
const ADMIN_PATH = '/api/v1/admin/tenants/:id/providers';
const OWN_PATH = '/api/v1/providers';
const query = z.strictObject(pageQuery());

export const providerSchemas = { ProviderKey: providerKey, ProviderKeyInput: providerKeyInput };

export const providerEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'putTenantProviderKey',
      group: 'Tenants',
      method: 'PUT',
      path: `${ADMIN_PATH}/:name`,
      params,
      summary:
        "Give a tenant a key of its own at a provider, used before the server's; it is never shown again",
      body: providerKeyInput,
      response: providerKey,
      faults: ['provider_not_configured'],
    },
    ({ params, body, actor, services }) => put(services, params.id, params.name, body.api_key, actor),
  ),
  adminEndpoint(
    {
      name: 'listTenantProviderKeys',
      group: 'Tenants',
      method: 'GET',
      path: ADMIN_PATH,
      summary: "List a tenant's own keys at providers, the latest change first",
      query,
      response: listOf(providerKey),
    },
    ({ params, query, services }) =>
      toList(services.control.listProviderKeys(params.id, pageOf(query)), providerKeyJson),
  ),
  adminEndpoint(
    {
      name: 'getTenantProviderKey',
      group: 'Tenants',
      method: 'GET',
      path: `${ADMIN_PATH}/:name`,
      params,
      summary: 'Whether a tenant has a key of its own at a provider, and since when',
      response: providerKey,
    },
    ({ params, services }) => providerKeyJson(services.control.getProviderKey(params.id, params.name)),
  ),
  adminEndpoint(
    {
      name: 'deleteTenantProviderKey',
      group: 'Tenants',
      method: 'DELETE',
      path: `${ADMIN_PATH}/:name`,
      params,
      summary: "Remove a tenant's own key at a provider, from its next turn on",
      status: 204,
    },
    ({ params, actor, services }) => services.control.deleteProviderKey(params.id, params.name, actor),
  ),
  tenantEndpoint(
    {
      name: 'putProviderKey',
      group: 'Provider keys',
      method: 'PUT',
      path: `${OWN_PATH}/:name`,
      params,
      scope: 'manage',
      summary: "Put one's own key at a provider, used before the server's; it is never shown again",
      body: providerKeyInput,
      response: providerKey,
      faults: ['provider_not_configured'],
    },
    ({ params, body, identity, requestId, services }) =>
      put(services, identity.tenant.id, params.name, body.api_key, actorOf(identity, requestId)),
  ),
  tenantEndpoint(
    {
      name: 'listProviderKeys',
      group: 'Provider keys',
      method: 'GET',
      path: OWN_PATH,
      scope: 'manage',
      summary: "List one's own keys at providers, the latest change first",
      query,
      response: listOf(providerKey),
    },
    ({ query, identity, services }) =>
      toList(services.control.listProviderKeys(identity.tenant.id, pageOf(query)), providerKeyJson),
  ),
  tenantEndpoint(
    {
      name: 'getProviderKey',
      group: 'Provider keys',
      method: 'GET',
      path: `${OWN_PATH}/:name`,
      params,
      scope: 'manage',
      summary: "Whether there is a key of one's own at a provider, and since when",
      response: providerKey,
    },
    ({ params, identity, services }) =>
      providerKeyJson(services.control.getProviderKey(identity.tenant.id, params.name)),
  ),
  tenantEndpoint(
    {
      name: 'deleteProviderKey',
      group: 'Provider keys',
      method: 'DELETE',
      path: `${OWN_PATH}/:name`,
      params,
      scope: 'manage',
      summary: "Remove one's own key at a provider, from the next turn on",
      status: 204,
    },
    ({ params, identity, requestId, services }) =>
      services.control.deleteProviderKey(identity.tenant.id, params.name, actorOf(identity, requestId)),
  ),
];
