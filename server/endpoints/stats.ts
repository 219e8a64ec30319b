import { z } from 'zod';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import { timestamp } from './common.ts';
import { adminEndpoint, type Endpoint } from './endpoint.ts';

const count = z.number().int().nonnegative();

const stats = z.strictObject({
  tenants: z.strictObject({ active: count, suspended: count, deleted: count }),
  /** Tenant files: open now, at work now, and how often one was found open, had to be opened, had to make room. */
  pool: z.strictObject({
    open: count,
    leased: count,
    open_max: count,
    hits: count,
    misses: count,
    evictions: count,
  }),
  versions: z.strictObject({ node: z.string(), tenant_schema: count }),
  sizes: z.strictObject({
    control_bytes: count,
    tenants_bytes: count,
    backups_bytes: count,
    trash_bytes: count,
    measured_at: timestamp,
  }),
  disk_free_bytes: count,
});

export const statsSchemas = { Stats: stats };

export const statsEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'getStats',
      group: 'Server',
      method: 'GET',
      path: '/api/v1/admin/stats',
      summary: 'Tenants, open files, versions and sizes on the disk, which are counted once a minute',
      response: stats,
      faults: ['overloaded', 'internal_error'],
    },
    async ({ services: { operations } }) => {
      const { tenants, pool, schemaVersion, sizes, diskFreeBytes } = await operations.stats.read();
      return {
        tenants,
        pool: {
          open: pool.open,
          leased: pool.leased,
          open_max: pool.openMax,
          hits: pool.hits,
          misses: pool.misses,
          evictions: pool.evictions,
        },
        versions: { node: process.versions.node, tenant_schema: schemaVersion },
        sizes: {
          control_bytes: sizes.control,
          tenants_bytes: sizes.tenants,
          backups_bytes: sizes.backups,
          trash_bytes: sizes.trash,
          measured_at: toTimestamp(sizes.measuredAt),
        },
        disk_free_bytes: diskFreeBytes,
      };
    },
  ),
];
