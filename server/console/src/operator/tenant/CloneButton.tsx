import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { FormDialog } from '../../shared/FormDialog.tsx';
import { useNewTenant } from '../tenants/useNewTenant.tsx';

export function CloneButton({ tenant }: { tenant: Schema<'Tenant'> }) {
  const { client } = useApi();
  const [isOpen, setOpen] = useState(false);
  const [name, setName] = useState(`${tenant.name} (copy)`);
  const { action, keyDialog } = useNewTenant(
    (body: { name: string }) =>
      dataOf(client.POST('/api/v1/admin/tenants/{id}/clone', { params: { path: { id: tenant.id } }, body })),
    () => setOpen(false),
  );
  return (
    <>
      <Button variant="default" onClick={() => setOpen(true)}>
        Clone
      </Button>
      <FormDialog
        opened={isOpen}
        title={`Clone ${tenant.name}`}
        submit="Clone"
        busy={action.isPending}
        error={action.error}
        disabled={name.trim() === ''}
        onSubmit={() => action.mutate({ name })}
        onClose={() => setOpen(false)}
      >
        <TextInput
          label="Name of the copy"
          required
          maxLength={200}
          data-autofocus
          value={name}
          onChange={({ currentTarget }) => setName(currentTarget.value)}
        />
      </FormDialog>
      {keyDialog}
    </>
  );
}
