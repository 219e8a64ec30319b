import { useMemo } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi, useMayOperate } from '../../session/context.ts';
import { type ProviderKeyCalls, ProviderKeysPanel } from '../../shared/keys/ProviderKeysPanel.tsx';

const PATH = '/api/v1/admin/tenants/{id}/providers';

export function ProvidersTab({ tenant: { id } }: { tenant: Schema<'Tenant'> }) {
  const { client } = useApi();
  const calls = useMemo<ProviderKeyCalls>(
    () => ({
      queryKey: ['tenant', id, 'providers'],
      list: (query, signal) => dataOf(client.GET(PATH, { params: { path: { id }, query }, signal })),
      put: (name, api_key) =>
        dataOf(client.PUT(`${PATH}/{name}`, { params: { path: { id, name } }, body: { api_key } })),
      remove: (name) => dataOf(client.DELETE(`${PATH}/{name}`, { params: { path: { id, name } } })),
    }),
    [client, id],
  );
  return <ProviderKeysPanel calls={calls} mayChange={useMayOperate()} />;
}
