import { z } from 'zod';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import type { TurnLog, TurnLogDetail, UsageGroup, UsageSum } from '../../tenant-schema/store.ts';
import {
  costUsd,
  id,
  idFilter,
  listOf,
  pageOf,
  pageQuery,
  timeInput,
  timestamp,
  toList,
  toUsd,
  usage,
  usageJson,
  userInput,
} from './common.ts';
import { type Endpoint, tenantEndpoint } from './endpoint.ts';

const turnStatus = z.enum(['ok', 'error', 'aborted']);
const milliseconds = z.number().nonnegative();

const log = z.strictObject({
  id,
  request_id: z.string(),
  config_id: id,
  config_version: z.number().int().positive(),
  conversation_id: id,
  user: z.string().nullable(),
  provider: z.string(),
  model: z.string(),
  status: turnStatus,
  error_code: z.string().nullable(),
  latency_ms: milliseconds,
  first_token_ms: milliseconds.nullable(),
  usage,
  cost_usd: costUsd,
  created_at: timestamp,
});

const logDetail = z.strictObject({
  ...log.shape,
  /** What was said in the turn; null where the tenant's settings do not keep it. */
  content: z.strictObject({ input: z.string(), output: z.string() }).nullable(),
});

const count = z.number().int().nonnegative();
const usageSum = z.strictObject({
  day: z.iso.date().optional(),
  model: z.string().optional(),
  config_id: id.optional(),
  turns: count,
  errors: count,
  input_tokens: count,
  output_tokens: count,
  cached_input_tokens: count,
  reasoning_tokens: count,
  cost_usd: costUsd,
});

const logJson = (row: TurnLog): z.input<typeof log> => ({
  id: row.id,
  request_id: row.requestId,
  config_id: row.configId,
  config_version: row.configVersion,
  conversation_id: row.conversationId,
  user: row.user,
  provider: row.provider,
  model: row.model,
  status: row.status,
  error_code: row.errorCode,
  latency_ms: row.latencyMs,
  first_token_ms: row.firstTokenMs,
  usage: usageJson(row.usage, row.usageEstimated),
  cost_usd: toUsd(row.costMicroUsd),
  created_at: toTimestamp(row.createdAt),
});

const logDetailJson = (row: TurnLogDetail): z.input<typeof logDetail> => ({
  ...logJson(row),
  content: row.content,
});

const KEY_FIELD = { day: 'day', model: 'model', config: 'config_id' } as const satisfies Record<
  UsageGroup,
  keyof z.input<typeof usageSum>
>;

const usageSumJson = (group: UsageGroup, row: UsageSum): z.input<typeof usageSum> => ({
  [KEY_FIELD[group]]: row.key,
  turns: row.turns,
  errors: row.errors,
  ...usageJson(row.usage),
  cost_usd: toUsd(row.costMicroUsd),
});

const timeRange = { since: timeInput.optional(), until: timeInput.optional() };

export const logSchemas = { Log: log, LogDetail: logDetail, UsageSum: usageSum, Usage: usage };

export const logEndpoints: Endpoint[] = [
  tenantEndpoint(
    {
      name: 'listLogs',
      group: 'Logs',
      method: 'GET',
      path: '/api/v1/logs',
      scope: 'read',
      summary:
        'List the turns that were admitted and have ended, newest first; where few of many fit, a page may be short of rows, or empty, and still have a next one',
      query: z.strictObject({
        ...pageQuery(),
        config_id: idFilter,
        conversation_id: idFilter,
        user: userInput.optional(),
        status: turnStatus.optional(),
        ...timeRange,
      }),
      response: listOf(log),
    },
    async ({ query, identity, services }) => {
      const { config_id: configId, conversation_id: conversationId, user, status, since, until } = query;
      const filter = { configId, conversationId, user, status, since, until };
      return toList(
        await services.engine.run(identity.tenant.id, 'listLogs', filter, pageOf(query)),
        logJson,
      );
    },
  ),
  tenantEndpoint(
    {
      name: 'getLog',
      group: 'Logs',
      method: 'GET',
      path: '/api/v1/logs/:id',
      scope: 'read',
      summary: 'One turn that has ended, with what was said in it where that is kept',
      response: logDetail,
    },
    async ({ params, identity, services }) =>
      logDetailJson(await services.engine.use(identity.tenant.id, (store) => store.getLog(params.id))),
  ),
  tenantEndpoint(
    {
      name: 'sumUsage',
      group: 'Logs',
      method: 'GET',
      path: '/api/v1/usage',
      scope: 'read',
      summary:
        'Sum the turns by day (UTC), model or config; whole days also where their logs are kept no longer, parts of a day only where they are',
      query: z.strictObject({
        ...pageQuery(100),
        group_by: z.enum(['day', 'model', 'config']).default('day'),
        ...timeRange,
      }),
      response: listOf(usageSum),
    },
    async ({ query, identity, services }) => {
      const { group_by: group, since, until } = query;
      const range = { since, until };
      const sums = await services.engine.run(identity.tenant.id, 'sumUsage', group, range, pageOf(query));
      return toList(sums, (row) => usageSumJson(group, row));
    },
  ),
];
