import { Group, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { SpanPicker } from '../../shared/SpanPicker.tsx';
import { UsageByDay } from '../../shared/usage/UsageByDay.tsx';
import { SPANS } from '../filters.ts';
import { usageByDayQuery } from '../queries.ts';

const route = getRouteApi('/operator/tenants/$tenantId');

export function UsageTab({ tenant }: { tenant: Schema<'Tenant'> }) {
  const { days = '30' } = route.useSearch();
  const navigate = route.useNavigate();
  const usage = useQuery(usageByDayQuery(useApi(), Number(days), tenant.id));
  return (
    <Stack>
      <Group justify="flex-end">
        <SpanPicker
          spans={SPANS}
          value={days}
          onChange={(span) => navigate({ search: (before) => ({ ...before, days: span }), replace: true })}
        />
      </Group>
      <UsageByDay
        days={Number(days)}
        rows={usage.data}
        error={usage.error}
        onRetry={usage.refetch}
        hint="Give the tenant one of its API keys: with it, it makes a config and asks its agent the first question."
      />
    </Stack>
  );
}
