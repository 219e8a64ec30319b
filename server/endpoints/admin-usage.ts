import { z } from 'zod';
import { type AdminUsageSum, TOP_ORDERS } from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import {
  costUsd,
  id,
  idFilter,
  listOf,
  pageOf,
  pageQuery,
  timeInput,
  toList,
  toUsd,
  usageJson,
} from './common.ts';
import { adminEndpoint, type Endpoint, EventStream } from './endpoint.ts';
import { throttled } from './fleet.ts';

const count = z.number().int().nonnegative();

const adminUsage = z.strictObject({
  tenant_id: id.optional(),
  day: z.iso.date().optional(),
  turns: count,
  errors: count,
  input_tokens: count,
  output_tokens: count,
  cached_input_tokens: count,
  reasoning_tokens: count,
  /** Null where the cost of any of the turns is unknown. */
  cost_usd: costUsd,
});

const adminUsageJson = (sum: AdminUsageSum): z.input<typeof adminUsage> => ({
  ...(sum.tenantId !== null && { tenant_id: sum.tenantId }),
  ...(sum.day !== null && { day: sum.day }),
  turns: sum.turns,
  errors: sum.errors,
  ...usageJson(sum.usage),
  cost_usd: sum.unpricedTurns > 0 ? null : toUsd(sum.costMicroUsd),
});

const rebuildInput = z.strictObject({ tenant_id: idFilter });
const failure = z.strictObject({ tenant_id: id, reason: z.string() });
const rebuilt = z.strictObject({ rebuilt: count, failed: z.array(failure) });
const progress = z.strictObject({ done: count, total: count });

const DAY_MS = 24 * 60 * 60 * 1000;
/** Of those that are written with four digits of a year. */
const LAST_DAY = Date.UTC(9999, 11, 31);
/** The UTC day in which the moment lies, and the one after its last moment. */
const dayOf = (epochMs: number): string => toTimestamp(epochMs).slice(0, 10);
const dayAfter = (epochMs: number): string => dayOf(Math.min(Math.ceil(epochMs / DAY_MS) * DAY_MS, LAST_DAY));

export const adminUsageSchemas = { AdminUsage: adminUsage };

export const adminUsageEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'listAdminUsage',
      group: 'Server',
      method: 'GET',
      path: '/api/v1/admin/usage',
      summary:
        'What tenants used, by tenant and day, newest day first, or summed by tenant or by day; the days are UTC, and ' +
        'one that `since` or `until` lies in counts whole. By tenant, `order` gives those with the most turns, or the ' +
        'highest cost, on one page',
      query: z
        .strictObject({
          ...pageQuery(100),
          group_by: z.enum(['tenant', 'day']).optional(),
          order: z.enum(TOP_ORDERS).optional(),
          tenant_id: idFilter,
          since: timeInput.optional(),
          until: timeInput.optional(),
        })
        .refine(({ order, group_by, cursor }) => !order || (group_by === 'tenant' && !cursor), {
          path: ['order'],
          message: 'goes with `group_by=tenant`, without a cursor',
        }),
      response: listOf(adminUsage),
    },
    async ({ query, services: { control, usage } }) => {
      await usage.flush();
      const { group_by: group, tenant_id: tenantId, since, until } = query;
      const filter = {
        tenantId,
        since: since === undefined ? undefined : dayOf(since),
        until: until === undefined ? undefined : dayAfter(until),
      };
      if (query.order !== undefined) {
        const top = await control.topTenants(filter, query.order, query.limit);
        return toList({ data: top, nextCursor: null }, adminUsageJson);
      }
      const sums =
        group === 'tenant'
          ? control.sumUsageByTenant
          : group === 'day'
            ? control.sumUsageByDay
            : control.listUsage;
      return toList(sums(filter, pageOf(query)), adminUsageJson);
    },
  ),
  adminEndpoint(
    {
      name: 'rebuildUsage',
      group: 'Server',
      method: 'POST',
      path: '/api/v1/admin/usage/rebuild',
      summary:
        "Set what tenants used to what each one's own file says, while turns run; answers a stream of events",
      body: rebuildInput,
      bodyOptional: true,
      response: rebuilt,
      events: { progress, failed: failure, ping: z.strictObject({}), done: rebuilt },
      faults: ['not_found', 'concurrency_limited', 'tenant_unavailable'],
    },
    async ({ body, actor, clientGone, services: { control, usage, clock } }) => {
      const { tenant_id: tenantId } = body;
      if (tenantId !== undefined) control.getTenant(tenantId);
      // As a status of its own, which a stream that has begun cannot have any more.
      usage.requireNoRebuild();
      control.recordFileEvent({ action: 'usage.rebuild', tenantId: tenantId ?? null }, actor);
      return new EventStream(async (send) => {
        if (tenantId !== undefined) {
          await usage.rebuild(tenantId);
          await send('done', { rebuilt: 1, failed: [] });
          return;
        }
        const { rebuilt, failed } = await usage.rebuildAll(clientGone, {
          progress: throttled(send, clock),
          failed: async (tenant) => send('failed', failureJson(tenant)),
        });
        await send('done', { rebuilt, failed: failed.map(failureJson) });
      });
    },
  ),
];

const failureJson = ({ tenantId, reason }: { tenantId: string; reason: string }) => ({
  tenant_id: tenantId,
  reason,
});
