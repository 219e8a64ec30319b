import type { z } from 'zod';
import { adminTokenEndpoints, adminTokenSchemas } from './admin-tokens.ts';
import { adminUsageEndpoints, adminUsageSchemas } from './admin-usage.ts';
import { auditEndpoints, auditSchemas } from './audit.ts';
import { backupEndpoints, backupSchemas } from './backups.ts';
import { chatEndpoints, chatSchemas } from './chat.ts';
import { problem } from './common.ts';
import { configEndpoints, configSchemas } from './configs.ts';
import { consoleEndpoints, consoleSchemas } from './console-session.ts';
import { conversationEndpoints, conversationSchemas } from './conversations.ts';
import type { Endpoint } from './endpoint.ts';
import { exportEndpoints } from './export.ts';
import { fleetEndpoints, fleetSchemas } from './fleet.ts';
import { healthEndpoints, healthSchemas, probeEndpoints } from './health.ts';
import { keyEndpoints, keySchemas } from './keys.ts';
import { logPruningEndpoints } from './log-pruning.ts';
import { logEndpoints, logSchemas } from './logs.ts';
import { meEndpoints, meSchemas } from './me.ts';
import { providerEndpoints, providerSchemas } from './providers.ts';
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
  ...providerEndpoints,
  ...adminTokenEndpoints,
  ...fleetEndpoints,
  ...logPruningEndpoints,
  ...statsEndpoints,
  ...adminUsageEndpoints,
  ...auditEndpoints,
  ...consoleEndpoints,
  ...healthEndpoints(options),
];

/**
 * What a worker answers itself: turns, and what else is read and written in the tenant's own file. All other calls are
 * about files, keys or the server, and are for the process that owns the folder.
 */
export const workerEndpoints: readonly Endpoint[] = [
  ...chatEndpoints,
  ...configEndpoints,
  ...conversationEndpoints,
  ...logEndpoints,
  ...meEndpoints,
  ...probeEndpoints,
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
  ...adminUsageSchemas,
  ...auditSchemas,
  ...keySchemas,
  ...providerSchemas,
  ...adminTokenSchemas,
  ...fleetSchemas,
  ...consoleSchemas,
  ...healthSchemas,
  Problem: problem,
};
