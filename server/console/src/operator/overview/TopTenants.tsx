import { Paper, Title } from '@mantine/core';
import { useQueries, useQuery } from '@tanstack/react-query';
import { useApi } from '../../session/context.ts';
import { DataTable } from '../../shared/DataTable.tsx';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { formatCount } from '../../shared/format.ts';
import { TextLink } from '../../shared/links.tsx';
import { Money } from '../../shared/Money.tsx';
import { tenantQuery, topTenantsQuery } from '../queries.ts';

const SHOWN = 5;
const TITLES = { turns: 'Busiest tenants', cost: 'Most expensive tenants' };

/** The tenants that are first in one of two ways. */
export function TopTenants({ by, days }: { by: 'turns' | 'cost'; days: number }) {
  const api = useApi();
  const top = useQuery(topTenantsQuery(api, by, days, SHOWN));
  const ids = top.data?.flatMap(({ tenant_id }) => tenant_id ?? []) ?? [];
  const names = useQueries({
    queries: ids.map((id) => tenantQuery(api, id)),
    combine: (found) => new Map(found.flatMap(({ data }) => (data ? [[data.id, data.name]] : []))),
  });
  return (
    <Paper withBorder p="md">
      <Title order={2} size="h5" mb="sm">
        {TITLES[by]}
      </Title>
      <DataTable
        label={TITLES[by]}
        minWidth={320}
        rows={top.data}
        error={top.error}
        onRetry={top.refetch}
        rowKey={(row) => row.tenant_id ?? ''}
        empty={<EmptyState title="None yet">Tenants show here after their first turns.</EmptyState>}
        columns={[
          {
            header: 'Tenant',
            cell: ({ tenant_id: id = '' }) => (
              <TextLink to="/tenants/$tenantId" params={{ tenantId: id }}>
                {names.get(id) ?? id}
              </TextLink>
            ),
          },
          { header: 'Turns', numeric: true, cell: ({ turns }) => formatCount(turns) },
          { header: 'Spend', numeric: true, cell: ({ cost_usd }) => <Money usd={cost_usd} /> },
        ]}
      />
    </Paper>
  );
}
