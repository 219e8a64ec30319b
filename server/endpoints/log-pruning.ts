import { z } from 'zod';
import type { JsonObject } from '../../tenant-schema/store.ts';
import { idFilter } from './common.ts';
import { adminEndpoint, type Endpoint, EventStream } from './endpoint.ts';
import { quarantined, quarantinedJson, throttled } from './fleet.ts';

const count = z.number().int().nonnegative();

const pruneInput = z.strictObject({
  /** Without it, all tenants. */
  tenant_id: idFilter,
  /** How many whole days (UTC) before today are kept; without it, as `LOG_DAYS` says. */
  days: z.number().int().min(1).max(36_500).optional(),
});
const pruned = z.strictObject({ tenants: count, removed: count, failed: z.array(quarantined) });
/** `done` and `total` count tenants, `removed` rows. */
const progress = z.strictObject({ done: count, total: count, removed: count });

export const logPruningEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'pruneLogs',
      group: 'Fleet',
      method: 'POST',
      path: '/api/v1/admin/logs/prune',
      summary: 'Remove the log rows that are kept no longer, now; usage stays; answers a stream of events',
      body: pruneInput,
      bodyOptional: true,
      response: pruned,
      events: { progress, failed: quarantined, ping: z.strictObject({}), done: pruned },
      faults: ['concurrency_limited', 'not_found'],
    },
    ({ body, actor, clientGone, services: { control, logRetention, clock } }) => {
      const pruning = { tenantId: body.tenant_id ?? null, days: body.days ?? null };
      // As statuses of their own, which a stream that has begun cannot have any more.
      logRetention.requirePrunable(pruning);
      const record = (changes: JsonObject) =>
        control.recordFileEvent({ action: 'logs.prune', tenantId: pruning.tenantId, changes }, actor);
      record({ state: 'begun', days: pruning.days ?? logRetention.keepDays });
      return new EventStream(async (send) => {
        const progressed = throttled(send, clock);
        const result = await logRetention.prune(pruning, clientGone, {
          progress: (done, total, removed) => progressed(done, total, { removed }),
          failed: async (tenant) => send('failed', quarantinedJson(tenant)),
        });
        record({ state: clientGone.aborted ? 'cut_off' : 'done', removed: result.removed });
        await send('done', { ...result, failed: result.failed.map(quarantinedJson) });
      });
    },
  ),
];
