import { Paper, SimpleGrid, Stack, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { DataTable } from '../../shared/DataTable.tsx';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { formatCompact, formatCount } from '../../shared/format.ts';
import { Money } from '../../shared/Money.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { SpanPicker } from '../../shared/SpanPicker.tsx';
import { UsageByDay } from '../../shared/usage/UsageByDay.tsx';
import { ConfigLink } from '../ConfigLink.tsx';
import { SPANS } from '../filters.ts';
import { NoScope } from '../NoScope.tsx';
import { usageQuery } from '../queries.ts';
import { useMay } from '../scopes.ts';

const route = getRouteApi('/tenant/usage');

/** What the tenant has used, by day, model and config. */
export function UsagePage() {
  const { days = '30' } = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <>
      <PageHeader
        title="Usage"
        description="Days are UTC."
        actions={
          <SpanPicker
            spans={SPANS}
            value={days}
            onChange={(span) => navigate({ search: { days: span }, replace: true })}
          />
        }
      />
      {useMay('read') ? <Figures days={Number(days)} /> : <NoScope scope="read" />}
    </>
  );
}

function Figures({ days }: { days: number }) {
  const usage = useQuery(usageQuery(useApi(), 'day', days));
  return (
    <Stack>
      <UsageByDay
        days={days}
        rows={usage.data}
        error={usage.error}
        onRetry={usage.refetch}
        hint="Say something in the playground, or let a program ask with one of your keys: it shows here at once."
      />
      <SimpleGrid cols={{ base: 1, lg: 2 }}>
        <Sums title="By model" group="model" days={days} name={({ model = '' }) => model} />
        <Sums
          title="By config"
          group="config"
          days={days}
          name={({ config_id }) => config_id && <ConfigLink id={config_id} />}
        />
      </SimpleGrid>
    </Stack>
  );
}

interface SumsProps {
  title: string;
  group: 'model' | 'config';
  days: number;
  name: (row: Schema<'UsageSum'>) => ReactNode;
}

function Sums({ title, group, days, name }: SumsProps) {
  const sums = useQuery(usageQuery(useApi(), group, days));
  return (
    <Paper withBorder p="md">
      <Title order={2} size="h5" mb="sm">
        {title}
      </Title>
      <DataTable
        label={`Usage ${title.toLowerCase()}`}
        minWidth={400}
        expected={3}
        rows={sums.data}
        error={sums.error}
        onRetry={sums.refetch}
        rowKey={({ model, config_id }) => model ?? config_id ?? ''}
        empty={<EmptyState title="None yet">It shows after the first turns.</EmptyState>}
        columns={[
          { header: group === 'model' ? 'Model' : 'Config', cell: name },
          { header: 'Turns', numeric: true, cell: ({ turns }) => formatCount(turns) },
          {
            header: 'Tokens',
            numeric: true,
            cell: ({ input_tokens, output_tokens }) => formatCompact(input_tokens + output_tokens),
          },
          { header: 'Spend', numeric: true, cell: ({ cost_usd }) => <Money usd={cost_usd} /> },
        ]}
      />
    </Paper>
  );
}
