import { z } from 'zod';
import { SCOPES } from '../../control-plane/types.ts';
import { id } from './common.ts';
import { type Endpoint, tenantEndpoint } from './endpoint.ts';
import { limits } from './tenants.ts';

const me = z.strictObject({
  tenant: z.strictObject({ id, name: z.string(), status: z.literal('active'), limits }),
  key: z.strictObject({ id, name: z.string(), scopes: z.array(z.enum(SCOPES)) }),
});

export const meSchemas = { Me: me };

export const meEndpoints: Endpoint[] = [
  tenantEndpoint(
    {
      name: 'getMe',
      group: 'Me',
      method: 'GET',
      path: '/api/v1/me',
      scope: null,
      summary: 'Whom this key speaks for, and what it may do',
      response: me,
    },
    ({ identity: { tenant, key } }) => ({
      // Other tenants never get here: a suspended one is refused, a deleted one's keys are unknown.
      tenant: { id: tenant.id, name: tenant.name, status: 'active' as const, limits: tenant.limits },
      key: { id: key.id, name: key.name, scopes: key.scopes },
    }),
  ),
];
