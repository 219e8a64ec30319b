import { SimpleGrid, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useApi } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatBytes, formatCount } from '../../shared/format.ts';
import { StatTile } from '../../shared/StatTile.tsx';
import { TimeText } from '../../shared/TimeText.tsx';
import { statsQuery } from '../queries.ts';

/** Tenants, open files and the disk. */
export function ServerTiles() {
  const stats = useQuery(statsQuery(useApi()));
  if (stats.error && !stats.data) return <ErrorAlert error={stats.error} onRetry={stats.refetch} />;
  const { tenants, pool, sizes, disk_free_bytes: free, versions } = stats.data ?? {};
  const used = sizes && sizes.control_bytes + sizes.tenants_bytes + sizes.backups_bytes + sizes.trash_bytes;
  return (
    <section aria-labelledby="server">
      <Title order={2} size="h4" mb="sm" id="server">
        Server
      </Title>
      <SimpleGrid cols={{ base: 2, md: 4 }}>
        <StatTile
          label="Tenants"
          value={tenants && formatCount(tenants.active + tenants.suspended)}
          detail={tenants && `${tenants.suspended} suspended; ${tenants.deleted} more in the trash`}
        />
        <StatTile
          label="Open files"
          value={pool && `${pool.open} of ${pool.open_max}`}
          detail={pool && `${pool.leased} at work, ${formatCount(pool.evictions)} made room so far`}
        />
        <StatTile
          label="Data"
          value={used === undefined ? undefined : formatBytes(used)}
          detail={
            sizes && (
              <>
                {formatBytes(sizes.tenants_bytes)} tenants, {formatBytes(sizes.backups_bytes)} backups,{' '}
                {formatBytes(sizes.trash_bytes)} trash, <TimeText at={sizes.measured_at} ago />
              </>
            )
          }
        />
        <StatTile
          label="Free on the disk"
          value={free === undefined ? undefined : formatBytes(free)}
          detail={versions && `Node.js ${versions.node}, schema ${versions.tenant_schema}`}
        />
      </SimpleGrid>
    </section>
  );
}
