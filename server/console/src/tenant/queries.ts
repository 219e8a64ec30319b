import { queryOptions } from '@tanstack/react-query';
import { type Api, dataOf, type Schema } from '../api/client.ts';
import { utcDayBefore } from '../shared/clock.ts';

const PAGE_ROWS = 100;
/** To choose from; a tenant with more of them finds the others by their address. */
const CONFIGS_MAX = 1000;

export const meQuery = (api: Api) =>
  queryOptions({
    queryKey: ['me'],
    queryFn: ({ signal }) => dataOf(api.client.GET('/api/v1/me', { signal })),
  });

/** All configs, newest first; to choose one, and to tell their names. */
export const configsQuery = (api: Api) =>
  queryOptions({
    queryKey: ['configs', 'all'],
    queryFn: async ({ signal }) => {
      const configs: Schema<'Config'>[] = [];
      let cursor: string | null = null;
      do {
        const query: { limit: number; cursor?: string } = {
          limit: PAGE_ROWS,
          ...(cursor !== null && { cursor }),
        };
        const page: Schema<'ListConfigsAnswer'> = await dataOf(
          api.client.GET('/api/v1/configs', { params: { query }, signal }),
        );
        configs.push(...page.data);
        cursor = page.next_cursor;
      } while (cursor !== null && configs.length < CONFIGS_MAX);
      return configs;
    },
  });

export const configQuery = (api: Api, id: string) =>
  queryOptions({
    queryKey: ['configs', 'one', id],
    queryFn: ({ signal }) =>
      dataOf(api.client.GET('/api/v1/configs/{id}', { params: { path: { id } }, signal })),
  });

/** A conversation with its latest messages. @throws `ApiError` */
export const readConversation = (api: Api, id: string, signal: AbortSignal) =>
  dataOf(api.client.GET('/api/v1/conversations/{id}', { params: { path: { id } }, signal }));

export const conversationQuery = (api: Api, id: string) =>
  queryOptions({
    queryKey: ['conversations', 'one', id],
    queryFn: ({ signal }) => readConversation(api, id, signal),
  });

export const logQuery = (api: Api, id: string) =>
  queryOptions({
    queryKey: ['logs', 'one', id],
    queryFn: ({ signal }) =>
      dataOf(api.client.GET('/api/v1/logs/{id}', { params: { path: { id } }, signal })),
  });

/** @param days ending today, at most 100 */
export const usageQuery = (api: Api, group: 'day' | 'model' | 'config', days: number) =>
  queryOptions({
    queryKey: ['usage', group, days],
    queryFn: async ({ signal }) => {
      const query = {
        group_by: group,
        since: `${utcDayBefore(days - 1)}T00:00:00.000Z`,
        limit: PAGE_ROWS,
      };
      const { data } = await dataOf(api.client.GET('/api/v1/usage', { params: { query }, signal }));
      return data;
    },
  });

export const limitsQuery = (api: Api) =>
  queryOptions({
    queryKey: ['limits'],
    queryFn: ({ signal }) => dataOf(api.client.GET('/api/v1/limits', { signal })),
  });
