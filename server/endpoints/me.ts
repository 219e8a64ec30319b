import { z } from 'zod';
import { SCOPES } from '../../control-plane/types.ts';
import type { WindowStanding } from '../../tenant-schema/store.ts';
import { turnLimits } from '../agent/admission.ts';
import { costUsd, id } from './common.ts';
import { type Endpoint, tenantEndpoint } from './endpoint.ts';
import { limits } from './tenants.ts';

const me = z.strictObject({
  tenant: z.strictObject({ id, name: z.string(), status: z.literal('active'), limits }),
  key: z.strictObject({ id, name: z.string(), scopes: z.array(z.enum(SCOPES)) }),
});

const window = z
  .strictObject({
    limit: z.number(),
    remaining: z.number(),
    /** Seconds until all of it is there again, where nothing more is used. */
    reset_seconds: z.number().int().nonnegative(),
  })
  .nullable();

/** What of each limit is left; null where it is not set. */
const limitStanding = z.strictObject({
  requests: window,
  tokens: window,
  spend: z.strictObject({
    /** UTC. */
    month: z.string(),
    limit_usd: costUsd,
    spent_usd: z.number().nonnegative(),
    /** Held for turns that run. */
    reserved_usd: z.number().nonnegative(),
  }),
  turns_at_once: z.strictObject({
    limit: limits.shape.max_concurrent_turns,
    running: z.number().int().nonnegative(),
  }),
  storage: z.strictObject({
    limit_bytes: limits.shape.storage_bytes_max,
    /** What the data take, backups aside. */
    used_bytes: z.number().int().nonnegative(),
  }),
});

const windowJson = (standing: WindowStanding | null): z.input<typeof window> =>
  standing && {
    limit: standing.limit,
    remaining: standing.remaining,
    reset_seconds: Math.ceil(standing.resetMs / 1000),
  };

export const meSchemas = { Me: me, LimitStanding: limitStanding };

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
  tenantEndpoint(
    {
      name: 'getLimits',
      group: 'Me',
      method: 'GET',
      path: '/api/v1/limits',
      scope: 'read',
      summary: 'How the rolling limits stand, what this month has cost, what runs, and what the data take',
      response: limitStanding,
    },
    async ({ identity: { tenant }, services: { engine } }) => {
      const { standing, spend, usedBytes, runningTurns } = await engine.use(tenant.id, (store) => ({
        standing: store.standing(turnLimits(tenant.limits)),
        spend: store.spendOfMonth(),
        usedBytes: store.usedBytes(),
        runningTurns: store.runningTurns(),
      }));
      return {
        requests: windowJson(standing.requests),
        tokens: windowJson(standing.tokens),
        spend: {
          month: spend.month,
          limit_usd: tenant.limits.monthly_spend_usd,
          spent_usd: spend.spentMicroUsd / 1e6,
          reserved_usd: spend.reservedMicroUsd / 1e6,
        },
        turns_at_once: { limit: tenant.limits.max_concurrent_turns, running: runningTurns },
        storage: { limit_bytes: tenant.limits.storage_bytes_max, used_bytes: usedBytes },
      };
    },
  ),
];
