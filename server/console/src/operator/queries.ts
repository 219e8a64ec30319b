import { queryOptions } from '@tanstack/react-query';
import { type Api, dataOf } from '../api/client.ts';
import { utcDayBefore } from '../shared/clock.ts';

export const statsQuery = (api: Api) =>
  queryOptions({
    queryKey: ['stats'],
    queryFn: ({ signal }) => dataOf(api.client.GET('/api/v1/admin/stats', { signal })),
  });

/** By day, over all tenants or one. @param days ending today, at most 100 */
export const usageByDayQuery = (api: Api, days: number, tenantId?: string) =>
  queryOptions({
    queryKey: ['usage', 'days', days, tenantId ?? null],
    queryFn: async ({ signal }) => {
      const query = {
        group_by: 'day' as const,
        since: utcDayBefore(days - 1),
        limit: 100,
        ...(tenantId !== undefined && { tenant_id: tenantId }),
      };
      const { data } = await dataOf(api.client.GET('/api/v1/admin/usage', { params: { query }, signal }));
      return data;
    },
  });

export const topTenantsQuery = (api: Api, order: 'turns' | 'cost', days: number, limit: number) =>
  queryOptions({
    queryKey: ['usage', 'top', order, days, limit],
    queryFn: async ({ signal }) => {
      const query = { group_by: 'tenant' as const, order, since: utcDayBefore(days - 1), limit };
      const { data } = await dataOf(api.client.GET('/api/v1/admin/usage', { params: { query }, signal }));
      return data;
    },
  });

export const tenantQuery = (api: Api, id: string) =>
  queryOptions({
    queryKey: ['tenant', id],
    queryFn: ({ signal }) =>
      dataOf(api.client.GET('/api/v1/admin/tenants/{id}', { params: { path: { id } }, signal })),
  });

export const fleetQuery = (api: Api) =>
  queryOptions({
    queryKey: ['fleet'],
    queryFn: ({ signal }) => dataOf(api.client.GET('/api/v1/admin/fleet', { signal })),
  });
