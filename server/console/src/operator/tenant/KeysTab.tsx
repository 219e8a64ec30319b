import { useMemo } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi, useMayOperate } from '../../session/context.ts';
import { type KeyCalls, KeysPanel } from '../../shared/keys/KeysPanel.tsx';

const PATH = '/api/v1/admin/tenants/{id}/keys';

export function KeysTab({ tenant: { id } }: { tenant: Schema<'Tenant'> }) {
  const { client } = useApi();
  const calls = useMemo<KeyCalls>(
    () => ({
      queryKey: ['tenant', id, 'keys'],
      list: (query, signal) => dataOf(client.GET(PATH, { params: { path: { id }, query }, signal })),
      create: (body) => dataOf(client.POST(PATH, { params: { path: { id } }, body })),
      rotate: (key_id, overlap_seconds) =>
        dataOf(
          client.POST(`${PATH}/{key_id}/rotate`, {
            params: { path: { id, key_id } },
            body: { overlap_seconds },
          }),
        ),
      revoke: (key_id) => dataOf(client.DELETE(`${PATH}/{key_id}`, { params: { path: { id, key_id } } })),
    }),
    [client, id],
  );
  return <KeysPanel calls={calls} mayChange={useMayOperate()} scopes={['chat', 'read', 'manage']} />;
}
