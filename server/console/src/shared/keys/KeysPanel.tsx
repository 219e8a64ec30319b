import { Badge, Button, Code, Group, Text } from '@mantine/core';
import type { QueryKey } from '@tanstack/react-query';
import { useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { ConfirmDialog } from '../ConfirmDialog.tsx';
import { now } from '../clock.ts';
import { EmptyState } from '../EmptyState.tsx';
import { PagedTable } from '../PagedTable.tsx';
import { SecretDialog } from '../SecretDialog.tsx';
import { StatusBadge } from '../StatusBadge.tsx';
import { TimeText } from '../TimeText.tsx';
import { useAction } from '../useAction.ts';
import { type Listing, useCursorPages } from '../useCursorPages.ts';
import { NewKeyDialog } from './NewKeyDialog.tsx';
import { RotateKeyDialog } from './RotateKeyDialog.tsx';

export type ApiKey = Schema<'ApiKey'>;
export type NewApiKey = Schema<'NewApiKey'>;

/** How the keys of one tenant are reached: by an operator, or by the tenant itself. */
export interface KeyCalls {
  queryKey: QueryKey;
  list(page: { cursor?: string }, signal: AbortSignal): Promise<Listing<ApiKey>>;
  create(body: Schema<'ApiKeyInput'>): Promise<NewApiKey>;
  rotate(id: string, overlapSeconds: number): Promise<NewApiKey>;
  revoke(id: string): Promise<unknown>;
}

export interface KeysPanelProps {
  calls: KeyCalls;
  mayChange: boolean;
  /** Those that a new key may have. */
  scopes: readonly ApiKey['scopes'][number][];
}

const statusOf = ({ revoked_at, expires_at }: ApiKey): string => {
  if (revoked_at !== null) return 'revoked';
  return expires_at !== null && Date.parse(expires_at) <= now() ? 'expired' : 'active';
};

type Open = { what: 'new' } | { what: 'rotate' | 'revoke'; key: ApiKey } | null;

/** A tenant's API keys: made, rotated, revoked. */
export function KeysPanel({ calls, mayChange, scopes }: KeysPanelProps) {
  const [open, setOpen] = useState<Open>(null);
  const [issued, setIssued] = useState<NewApiKey | null>(null);
  const pages = useCursorPages<ApiKey>(calls.queryKey, calls.list);
  const close = (): void => setOpen(null);
  const revoke = useAction({
    run: calls.revoke,
    invalidates: [calls.queryKey],
    done: 'The key is refused from now on.',
    onDone: close,
  });
  const show = (key: NewApiKey): void => {
    close();
    setIssued(key);
  };
  const add = mayChange && <Button onClick={() => setOpen({ what: 'new' })}>New key</Button>;
  return (
    <>
      <Group justify="space-between" mb="md">
        <Text c="dimmed" size="sm">
          Only hashes of keys are kept. A key that is lost can be rotated.
        </Text>
        {add}
      </Group>
      <PagedTable
        label="API keys"
        pages={pages}
        rowKey={({ id }) => id}
        minWidth={860}
        empty={<EmptyState title="No keys">Without one, nobody can speak for the tenant.</EmptyState>}
        columns={[
          { header: 'Name', cell: ({ name }) => name },
          { header: 'Key', cell: ({ prefix }) => <Code>{`${prefix.slice(0, 12)}…`}</Code> },
          { header: 'Status', cell: (key) => <StatusBadge status={statusOf(key)} /> },
          {
            header: 'Scopes',
            cell: (key) =>
              key.scopes.map((scope) => (
                <Badge key={scope} variant="default" size="sm" mr={4} tt="none" fw={400}>
                  {scope}
                </Badge>
              )),
          },
          { header: 'Made', cell: ({ created_at }) => <TimeText at={created_at} ago /> },
          { header: 'Last used', cell: ({ last_used_at }) => <TimeText at={last_used_at} ago /> },
          { header: 'Expires', cell: ({ expires_at }) => <TimeText at={expires_at} ago /> },
          {
            header: 'Actions',
            cell: (key) =>
              mayChange &&
              statusOf(key) === 'active' && (
                <Group gap="xs" wrap="nowrap">
                  <Button
                    size="compact-sm"
                    variant="default"
                    aria-label={`Rotate ${key.name}`}
                    onClick={() => setOpen({ what: 'rotate', key })}
                  >
                    Rotate
                  </Button>
                  <Button
                    size="compact-sm"
                    variant="default"
                    aria-label={`Revoke ${key.name}`}
                    onClick={() => setOpen({ what: 'revoke', key })}
                  >
                    Revoke
                  </Button>
                </Group>
              ),
          },
        ]}
      />
      <NewKeyDialog
        opened={open?.what === 'new'}
        calls={calls}
        scopes={scopes}
        onIssued={show}
        onClose={close}
      />
      <RotateKeyDialog
        apiKey={open?.what === 'rotate' ? open.key : null}
        calls={calls}
        onIssued={show}
        onClose={close}
      />
      <ConfirmDialog
        opened={open?.what === 'revoke'}
        title={`Revoke ${open?.what === 'revoke' ? open.key.name : ''}`}
        confirm="Revoke"
        danger
        busy={revoke.isPending}
        error={revoke.error}
        onConfirm={() => open?.what === 'revoke' && revoke.mutate(open.key.id)}
        onClose={close}
      >
        <Text>It is refused from the very next request on. This cannot be undone.</Text>
      </ConfirmDialog>
      <SecretDialog
        secret={issued?.api_key ?? null}
        title={`The key “${issued?.name ?? ''}”`}
        onClose={() => setIssued(null)}
      >
        Whoever has it speaks for the tenant, as far as its scopes go: {issued?.scopes.join(', ')}.
      </SecretDialog>
    </>
  );
}
