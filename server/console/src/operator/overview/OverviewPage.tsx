import { SimpleGrid, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useApi } from '../../session/context.ts';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { SpanPicker } from '../../shared/SpanPicker.tsx';
import { UsageByDay } from '../../shared/usage/UsageByDay.tsx';
import { SPANS } from '../filters.ts';
import { usageByDayQuery } from '../queries.ts';
import { ServerTiles } from './ServerTiles.tsx';
import { TopTenants } from './TopTenants.tsx';

const route = getRouteApi('/operator/overview');

/** What all tenants do together, and how the server stands. */
export function OverviewPage() {
  const api = useApi();
  const { days = '30' } = route.useSearch();
  const navigate = route.useNavigate();
  const usage = useQuery(usageByDayQuery(api, Number(days)));
  return (
    <>
      <PageHeader
        title="Overview"
        description="All tenants together; days are UTC."
        actions={
          <SpanPicker
            spans={SPANS}
            value={days}
            onChange={(span) => navigate({ search: { days: span }, replace: true })}
          />
        }
      />
      <Stack gap="xl">
        <UsageByDay
          days={Number(days)}
          rows={usage.data}
          error={usage.error}
          onRetry={usage.refetch}
          hint="As soon as a tenant has asked its agent something, its turns show here. The demo tenant can do so at once."
        />
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          <TopTenants by="turns" days={Number(days)} />
          <TopTenants by="cost" days={Number(days)} />
        </SimpleGrid>
        <ServerTiles />
      </Stack>
    </>
  );
}
