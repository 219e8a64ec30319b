import { Tabs } from '@mantine/core';
import { getRouteApi } from '@tanstack/react-router';
import { useMemo } from 'react';
import { dataOf } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { type KeyCalls, KeysPanel } from '../../shared/keys/KeysPanel.tsx';
import { type ProviderKeyCalls, ProviderKeysPanel } from '../../shared/keys/ProviderKeysPanel.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { given, oneOf } from '../../shared/search.ts';
import { KEY_TABS } from '../filters.ts';
import { NoScope } from '../NoScope.tsx';
import { useMay, useTenantSession } from '../scopes.ts';

const route = getRouteApi('/tenant/keys');

/** The tenant's own API keys, and its keys at providers. */
export function KeysPage() {
  const { tab = 'keys' } = route.useSearch();
  const navigate = route.useNavigate();
  const open = (value: string | null) =>
    navigate({ search: given({ tab: oneOf(KEY_TABS, value) }), replace: true });
  const mayManage = useMay('manage');
  return (
    <>
      <PageHeader title="Keys" description="With which programs speak to this server, and it to providers." />
      {mayManage ? (
        <Tabs value={tab} onChange={open} keepMounted={false}>
          <Tabs.List mb="lg" aria-label="Kinds of keys">
            <Tabs.Tab value="keys">API keys</Tabs.Tab>
            <Tabs.Tab value="providers">Provider keys</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="keys">
            <ApiKeys />
          </Tabs.Panel>
          <Tabs.Panel value="providers">
            <ProviderKeys />
          </Tabs.Panel>
        </Tabs>
      ) : (
        <NoScope scope="manage" />
      )}
    </>
  );
}

function ApiKeys() {
  const { client } = useApi();
  // A key can give no more than it has itself.
  const { scopes } = useTenantSession();
  const calls = useMemo<KeyCalls>(
    () => ({
      queryKey: ['keys'],
      list: (query, signal) => dataOf(client.GET('/api/v1/keys', { params: { query }, signal })),
      create: (body) => dataOf(client.POST('/api/v1/keys', { body })),
      rotate: (key_id, overlap_seconds) =>
        dataOf(
          client.POST('/api/v1/keys/{key_id}/rotate', {
            params: { path: { key_id } },
            body: { overlap_seconds },
          }),
        ),
      revoke: (key_id) => dataOf(client.DELETE('/api/v1/keys/{key_id}', { params: { path: { key_id } } })),
    }),
    [client],
  );
  return <KeysPanel calls={calls} mayChange scopes={scopes} />;
}

function ProviderKeys() {
  const { client } = useApi();
  const calls = useMemo<ProviderKeyCalls>(
    () => ({
      queryKey: ['providers'],
      list: (query, signal) => dataOf(client.GET('/api/v1/providers', { params: { query }, signal })),
      put: (name, api_key) =>
        dataOf(client.PUT('/api/v1/providers/{name}', { params: { path: { name } }, body: { api_key } })),
      remove: (name) => dataOf(client.DELETE('/api/v1/providers/{name}', { params: { path: { name } } })),
    }),
    [client],
  );
  return <ProviderKeysPanel calls={calls} mayChange />;
}
