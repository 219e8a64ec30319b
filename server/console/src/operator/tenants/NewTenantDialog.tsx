import { TextInput } from '@mantine/core';
import { useState } from 'react';
import { dataOf } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { FormDialog } from '../../shared/FormDialog.tsx';
import { useNewTenant } from './useNewTenant.tsx';

/** Makes a tenant with a name; everything else is set on its page. */
export function NewTenantDialog({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const api = useApi();
  const [name, setName] = useState('');
  const { action, keyDialog } = useNewTenant(
    (body: { name: string }) => dataOf(api.client.POST('/api/v1/admin/tenants', { body })),
    () => {
      setName('');
      onClose();
    },
  );
  return (
    <>
      <FormDialog
        opened={opened}
        title="New tenant"
        submit="Make it"
        busy={action.isPending}
        error={action.error}
        disabled={name.trim() === ''}
        onSubmit={() => action.mutate({ name })}
        onClose={onClose}
      >
        <TextInput
          label="Name"
          description="Your customer's. It need not be unique."
          required
          maxLength={200}
          autoComplete="off"
          data-autofocus
          value={name}
          onChange={({ currentTarget }) => setName(currentTarget.value)}
        />
      </FormDialog>
      {keyDialog}
    </>
  );
}
