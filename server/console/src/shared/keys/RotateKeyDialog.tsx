import { NativeSelect, Text } from '@mantine/core';
import { useState } from 'react';
import { FormDialog } from '../FormDialog.tsx';
import { useAction } from '../useAction.ts';
import type { ApiKey, KeyCalls, NewApiKey } from './KeysPanel.tsx';

const OVERLAPS = [
  { value: '0', label: 'no more from now on' },
  { value: '3600', label: 'for one hour more' },
  { value: '86400', label: 'for a day more' },
  { value: '604800', label: 'for a week more' },
];

export interface RotateKeyDialogProps {
  /** Null keeps the dialog closed. */
  apiKey: ApiKey | null;
  calls: KeyCalls;
  onIssued: (key: NewApiKey) => void;
  onClose: () => void;
}

/** Gives a key a new secret; the one before can work for a while, so that nothing stands still. */
export function RotateKeyDialog({ apiKey, calls, onIssued, onClose }: RotateKeyDialogProps) {
  const [overlap, setOverlap] = useState('86400');
  const rotate = useAction<string, NewApiKey>({
    run: (id) => calls.rotate(id, Number(overlap)),
    invalidates: [calls.queryKey],
    onDone: onIssued,
  });
  return (
    <FormDialog
      opened={apiKey !== null}
      title={`Rotate ${apiKey?.name ?? ''}`}
      submit="Rotate"
      busy={rotate.isPending}
      error={rotate.error}
      onSubmit={() => apiKey && rotate.mutate(apiKey.id)}
      onClose={onClose}
    >
      <Text>The key gets a new secret, which is shown once.</Text>
      <NativeSelect
        label="The old secret works"
        data={OVERLAPS}
        value={overlap}
        onChange={({ currentTarget }) => setOverlap(currentTarget.value)}
      />
    </FormDialog>
  );
}
