import { Paper, SimpleGrid, Stack, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useApi, useMayOperate } from '../../session/context.ts';
import { DataTable } from '../../shared/DataTable.tsx';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatCount } from '../../shared/format.ts';
import { TextLink } from '../../shared/links.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatTile } from '../../shared/StatTile.tsx';
import { fleetQuery } from '../queries.ts';
import { DoctorPanel } from './DoctorPanel.tsx';
import { MigratePanel } from './MigratePanel.tsx';

/** How all tenants' files stand: their versions, and those that cannot be used. */
export function FleetPage() {
  const { data: fleet, error, refetch } = useQuery(fleetQuery(useApi()));
  const mayOperate = useMayOperate();
  const isUnknown = error !== null && fleet === undefined;
  const current = fleet?.versions.find(({ schema_version }) => schema_version === fleet.latest_version);
  const behind = fleet && fleet.files - (current?.files ?? 0);
  return (
    <>
      <PageHeader
        title="Fleet"
        description="Every tenant's file has a schema version. A file is brought to the latest when it is opened, or all of them here."
      />
      <Stack gap="xl">
        {isUnknown && <ErrorAlert error={error} onRetry={refetch} />}
        <SimpleGrid cols={{ base: 2, md: 4 }}>
          <StatTile label="Files" value={fleet && formatCount(fleet.files)} />
          <StatTile label="Latest schema" value={fleet?.latest_version} />
          <StatTile
            label="At another version"
            value={behind === undefined ? undefined : formatCount(behind)}
          />
          <StatTile label="Quarantined" value={fleet && formatCount(fleet.quarantined.length)} />
        </SimpleGrid>
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          <Paper withBorder p="md">
            <Title order={2} size="h5" mb="sm">
              Versions
            </Title>
            <DataTable
              label="Schema versions"
              minWidth={240}
              expected={2}
              rows={isUnknown ? [] : fleet?.versions}
              rowKey={({ schema_version }) => String(schema_version)}
              empty={!isUnknown && <EmptyState title="No files yet">Each tenant comes with one.</EmptyState>}
              columns={[
                {
                  header: 'Schema version',
                  cell: ({ schema_version }) => schema_version ?? 'cannot be read',
                },
                { header: 'Files', numeric: true, cell: ({ files }) => formatCount(files) },
              ]}
            />
          </Paper>
          <Paper withBorder p="md">
            <Title order={2} size="h5" mb="sm">
              Quarantined files
            </Title>
            <DataTable
              label="Quarantined files"
              minWidth={320}
              expected={2}
              rows={isUnknown ? [] : fleet?.quarantined}
              rowKey={({ tenant_id }) => tenant_id}
              empty={
                !isUnknown && (
                  <EmptyState title="None">
                    A file that cannot be brought to the latest version would stand here; its tenant alone
                    would get a 503.
                  </EmptyState>
                )
              }
              columns={[
                {
                  header: 'Tenant',
                  cell: ({ tenant_id }) => (
                    <TextLink
                      to="/tenants/$tenantId"
                      params={{ tenantId: tenant_id }}
                      search={{ tab: 'backups' }}
                    >
                      {tenant_id}
                    </TextLink>
                  ),
                },
                { header: 'Reason', cell: ({ reason }) => reason },
              ]}
            />
          </Paper>
        </SimpleGrid>
        {mayOperate && (
          <>
            <MigratePanel />
            <DoctorPanel />
          </>
        )}
      </Stack>
    </>
  );
}
