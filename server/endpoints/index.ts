import type { z } from 'zod';
import { backupEndpoints, backupSchemas } from './backups.ts';
import { chatEndpoints, chatSchemas } from './chat.ts';
import { problem } from './common.ts';
import { configEndpoints, configSchemas } from './configs.ts';
import { conversationEndpoints, conversationSchemas } from './conversations.ts';
import type { Endpoint } from './endpoint.ts';
import { exportEndpoints } from './export.ts';
import { fleetEndpoints, fleetSchemas } from './fleet.ts';
import { healthEndpoints, healthSchemas } from './health.ts';
import { keyEndpoints, keySchemas } from './keys.ts';
import { logEndpoints, logSchemas } from './logs.ts';
import { meEndpoints, meSchemas } from './me.ts';
import { statsEndpoints, statsSchemas } from './stats.ts';
import { lifecycleEndpoints, lifecycleSchemas } from './tenant-lifecycle.ts';
import { tenantEndpoints, tenantSchemas } from './tenants.ts';

/** Every endpoint there is. */
export const allEndpoints = (options: { metricsPublic: boolean }): Endpoint[] => [
  ...chatEndpoints,
  ...configEndpoints,
  ...conversationEndpoints,
  ...logEndpoints,
  ...meEndpoints,
  ...exportEndpoints,
  ...tenantEndpoints,
  ...lifecycleEndpoints,
  ...backupEndpoints,
  ...keyEndpoints,
  ...fleetEndpoints,
  ...statsEndpoints,
  ...healthEndpoints(options),
];

/** The schemas that have a name of their own in the API description. */
export const namedSchemas: Record<string, z.ZodType> = {
  ...chatSchemas,
  ...configSchemas,
  ...conversationSchemas,
  ...logSchemas,
  ...meSchemas,
  ...tenantSchemas,
  ...lifecycleSchemas,
  ...backupSchemas,
  ...statsSchemas,
  ...keySchemas,
  ...fleetSchemas,
  ...healthSchemas,
  Problem: problem,
};
