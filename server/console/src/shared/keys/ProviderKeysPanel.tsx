import { Button, Code, Group, NativeSelect, PasswordInput, Text } from '@mantine/core';
import type { QueryKey } from '@tanstack/react-query';
import { useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { ConfirmDialog } from '../ConfirmDialog.tsx';
import { EmptyState } from '../EmptyState.tsx';
import { FormDialog } from '../FormDialog.tsx';
import { PagedTable } from '../PagedTable.tsx';
import { isProvider, KEYED_PROVIDERS, type Provider } from '../providers.ts';
import { TimeText } from '../TimeText.tsx';
import { useAction } from '../useAction.ts';
import { type Listing, useCursorPages } from '../useCursorPages.ts';

type ProviderKey = Schema<'ProviderKey'>;

/** How the provider keys of one tenant are reached: by an operator, or by the tenant itself. */
export interface ProviderKeyCalls {
  queryKey: QueryKey;
  list(page: { cursor?: string }, signal: AbortSignal): Promise<Listing<ProviderKey>>;
  put(name: Provider, apiKey: string): Promise<unknown>;
  remove(name: Provider): Promise<unknown>;
}

/** A tenant's own keys at providers. */
export function ProviderKeysPanel({ calls, mayChange }: { calls: ProviderKeyCalls; mayChange: boolean }) {
  const [editing, setEditing] = useState<Provider | null>(null);
  const [removing, setRemoving] = useState<Provider | null>(null);
  const pages = useCursorPages<ProviderKey>(calls.queryKey, calls.list);
  const remove = useAction({
    run: calls.remove,
    invalidates: [calls.queryKey],
    done: 'The key is removed.',
    onDone: () => setRemoving(null),
  });
  const add = mayChange && <Button onClick={() => setEditing('openai')}>Give a key</Button>;
  return (
    <>
      <Group justify="space-between" mb="md">
        <Text c="dimmed" size="sm">
          They are sealed, never shown again, and used before the server's own.
        </Text>
        {add}
      </Group>
      <PagedTable
        label="Provider keys"
        pages={pages}
        rowKey={({ name }) => name}
        minWidth={480}
        empty={
          <EmptyState title="No provider keys of its own">
            Turns use the server's keys, where it has some. Give one to be billed for by the provider
            directly.
          </EmptyState>
        }
        columns={[
          { header: 'Provider', cell: ({ name }) => name },
          { header: 'Key', cell: ({ last4 }) => <Code>…{last4}</Code> },
          { header: 'Changed', cell: ({ updated_at }) => <TimeText at={updated_at} ago /> },
          {
            header: 'Actions',
            cell: ({ name }) =>
              mayChange && (
                <Group gap="xs" wrap="nowrap">
                  <Button size="compact-sm" variant="default" onClick={() => setEditing(name)}>
                    Replace
                  </Button>
                  <Button size="compact-sm" variant="default" onClick={() => setRemoving(name)}>
                    Remove
                  </Button>
                </Group>
              ),
          },
        ]}
      />
      <PutDialog key={editing} name={editing} calls={calls} onClose={() => setEditing(null)} />
      <ConfirmDialog
        opened={removing !== null}
        title={`Remove the key at ${removing}`}
        confirm="Remove"
        danger
        busy={remove.isPending}
        error={remove.error}
        onConfirm={() => removing && remove.mutate(removing)}
        onClose={() => setRemoving(null)}
      >
        <Text>From the next turn on, the server's own key is used, where it has one and allows it.</Text>
      </ConfirmDialog>
    </>
  );
}

interface PutDialogProps {
  /** Null keeps the dialog closed. */
  name: Provider | null;
  calls: ProviderKeyCalls;
  onClose: () => void;
}

function PutDialog({ name, calls, onClose }: PutDialogProps) {
  const [provider, setProvider] = useState<Provider>(name ?? 'openai');
  const [apiKey, setApiKey] = useState('');
  const put = useAction({
    run: () => calls.put(provider, apiKey.trim()),
    invalidates: [calls.queryKey],
    done: 'The key is sealed, and used from the next turn on.',
    onDone: onClose,
  });
  return (
    <FormDialog
      opened={name !== null}
      title="Key at a provider"
      submit="Seal it"
      busy={put.isPending}
      error={put.error}
      disabled={apiKey.trim() === ''}
      onSubmit={() => put.mutate()}
      onClose={onClose}
    >
      <NativeSelect
        label="Provider"
        data={[...KEYED_PROVIDERS]}
        value={provider}
        onChange={({ currentTarget }) => isProvider(currentTarget.value) && setProvider(currentTarget.value)}
      />
      <PasswordInput
        label="API key"
        required
        autoComplete="off"
        data-autofocus
        value={apiKey}
        onChange={({ currentTarget }) => setApiKey(currentTarget.value)}
        visibilityToggleButtonProps={{ 'aria-label': 'Show or hide it' }}
      />
    </FormDialog>
  );
}
