import { Checkbox, Group, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { DAY_MS, now } from '../clock.ts';
import { FormDialog } from '../FormDialog.tsx';
import { useAction } from '../useAction.ts';
import type { ApiKey, KeyCalls, KeysPanelProps, NewApiKey } from './KeysPanel.tsx';

const ALLOWS: Record<ApiKey['scopes'][number], string> = {
  chat: 'chat: take turns',
  read: 'read: look at everything',
  manage: 'manage: configs, keys, export, changes',
};

const LIFETIMES = [
  { value: '', label: 'never' },
  { value: '7', label: 'in 7 days' },
  { value: '30', label: 'in 30 days' },
  { value: '365', label: 'in a year' },
];

export interface NewKeyDialogProps extends Pick<KeysPanelProps, 'calls' | 'scopes'> {
  opened: boolean;
  onIssued: (key: NewApiKey) => void;
  onClose: () => void;
}

/** Makes a key; its text is shown by who asked for it. */
export function NewKeyDialog({ opened, calls, scopes, onIssued, onClose }: NewKeyDialogProps) {
  const [name, setName] = useState('');
  const [chosen, setChosen] = useState<string[]>([...scopes]);
  const [days, setDays] = useState('');
  const create = useAction<Parameters<KeyCalls['create']>[0], NewApiKey>({
    run: calls.create,
    invalidates: [calls.queryKey],
    onDone(key) {
      setName('');
      onIssued(key);
    },
  });
  const submit = (): void =>
    create.mutate({
      name,
      scopes: scopes.filter((scope) => chosen.includes(scope)),
      ...(days !== '' && { expires_at: new Date(now() + Number(days) * DAY_MS).toISOString() }),
    });
  return (
    <FormDialog
      opened={opened}
      title="New key"
      submit="Make it"
      busy={create.isPending}
      error={create.error}
      disabled={name.trim() === '' || chosen.length === 0}
      onSubmit={submit}
      onClose={onClose}
    >
      <TextInput
        label="Name"
        description="Where it will be used."
        required
        maxLength={200}
        autoComplete="off"
        data-autofocus
        value={name}
        onChange={({ currentTarget }) => setName(currentTarget.value)}
      />
      <Checkbox.Group label="It may" value={chosen} onChange={setChosen}>
        <Group mt="xs">
          {scopes.map((scope) => (
            <Checkbox key={scope} value={scope} label={ALLOWS[scope]} />
          ))}
        </Group>
      </Checkbox.Group>
      <NativeSelect
        label="It expires"
        data={LIFETIMES}
        value={days}
        onChange={({ currentTarget }) => setDays(currentTarget.value)}
      />
    </FormDialog>
  );
}
