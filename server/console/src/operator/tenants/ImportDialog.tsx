import { Progress, Text, TextInput } from '@mantine/core';
import { useRef, useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { FileDrop } from '../../shared/FileDrop.tsx';
import { FormDialog } from '../../shared/FormDialog.tsx';
import { formatPercent } from '../../shared/format.ts';
import { useNewTenant } from './useNewTenant.tsx';

/** `acme-2026-01-31T12-00-00Z.db`, as exports are called, gives `acme`. */
const nameIn = (file: File): string =>
  file.name.replace(/\.[^.]*$/, '').replace(/-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ$/, '');

/** Makes a tenant out of an exported file. */
export function ImportDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const api = useApi();
  const [file, setFile] = useState<File | null>(null);
  const [name, setName] = useState('');
  const [sent, setSent] = useState(0);
  const running = useRef<AbortController | null>(null);
  const close = (): void => {
    running.current?.abort();
    onClose();
  };
  const { action, keyDialog } = useNewTenant(
    async (input: { file: File; name: string }) => {
      const controller = new AbortController();
      running.current = controller;
      setSent(0);
      const path = `/api/v1/admin/tenants/import?name=${encodeURIComponent(input.name)}`;
      return (await api.upload(path, input.file, setSent, controller.signal)) as Schema<'NewTenant'>;
    },
    () => {
      setFile(null);
      setName('');
      onClose();
    },
  );
  const choose = (chosen: File): void => {
    setFile(chosen);
    if (name === '') setName(nameIn(chosen));
  };
  return (
    <>
      <FormDialog
        opened={opened}
        title="Import a tenant"
        submit="Import"
        busy={action.isPending}
        error={action.error}
        disabled={file === null || name.trim() === ''}
        onSubmit={() => file && action.mutate({ file, name })}
        onClose={close}
      >
        <FileDrop label="Drop an exported database file here" file={file} onChange={choose} />
        <TextInput
          label="Name of the tenant"
          required
          maxLength={200}
          autoComplete="off"
          value={name}
          onChange={({ currentTarget }) => setName(currentTarget.value)}
        />
        {action.isPending && (
          <div>
            <Progress value={sent * 100} animated={sent === 1} aria-label="Sent" />
            <Text size="sm" mt={4} aria-live="polite">
              {sent < 1 ? `${formatPercent(sent)} sent` : 'Checking the file…'}
            </Text>
          </div>
        )}
      </FormDialog>
      {keyDialog}
    </>
  );
}
