import { z } from 'zod';
import { nameInput } from './common.ts';
import { adminEndpoint, type Endpoint } from './endpoint.ts';
import { newTenant, newTenantJson } from './tenants.ts';

const cloneInput = z.strictObject({ name: nameInput });

export const lifecycleSchemas = { TenantCloneInput: cloneInput };

export const lifecycleEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'deleteTenant',
      group: 'Tenants',
      method: 'DELETE',
      path: '/api/v1/admin/tenants/:id',
      summary:
        'Delete a tenant: its keys are dead at once, its file goes to the trash, or for good with `purge=true`',
      query: z.strictObject({ purge: z.enum(['true', 'false']).optional() }),
      status: 204,
    },
    ({ params, query, actor, services: { operations } }) =>
      query.purge === 'true'
        ? operations.tenants.purge(params.id, actor)
        : operations.tenants.delete(params.id, actor),
  ),
  adminEndpoint(
    {
      name: 'undeleteTenant',
      group: 'Tenants',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/undelete',
      summary: 'Take a tenant back from the trash, with one new key; the old ones stay dead',
      response: newTenant,
      faults: ['already_exists', 'tenant_unavailable'],
    },
    async ({ params, actor, services: { operations } }) =>
      newTenantJson(await operations.tenants.undelete(params.id, actor)),
  ),
  adminEndpoint(
    {
      name: 'cloneTenant',
      group: 'Tenants',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/clone',
      summary: "Make a tenant with a copy of another's data and limits, and a key of its own",
      body: cloneInput,
      status: 201,
      response: newTenant,
      faults: ['storage_quota_exceeded', 'tenant_unavailable'],
    },
    async ({ params, body, actor, services: { operations } }) =>
      newTenantJson(await operations.tenants.clone(params.id, body.name, actor)),
  ),
  adminEndpoint(
    {
      name: 'importTenant',
      group: 'Tenants',
      method: 'POST',
      path: '/api/v1/admin/tenants/import',
      summary: 'Make a tenant out of an exported file; one that is not ours, whole and harmless is refused',
      query: z.strictObject({ name: nameInput }),
      takesFile: true,
      status: 201,
      response: newTenant,
      faults: ['invalid_database', 'concurrency_limited', 'storage_quota_exceeded'],
    },
    async ({ query, file, actor, services: { operations } }) =>
      newTenantJson(await operations.tenants.importFile(query.name, file, actor)),
  ),
];
