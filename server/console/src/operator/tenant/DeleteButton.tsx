import { Button, Text } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { useAction } from '../../shared/useAction.ts';

/** Deletes the tenant and leads to the trash, where it can be brought back from. */
export function DeleteButton({ tenant: { id, name } }: { tenant: Schema<'Tenant'> }) {
  const { client } = useApi();
  const navigate = useNavigate();
  const [isOpen, setOpen] = useState(false);
  const remove = useAction({
    run: () => dataOf(client.DELETE('/api/v1/admin/tenants/{id}', { params: { path: { id } } })),
    invalidates: [['tenants'], ['stats']],
    done: `${name} is in the trash.`,
    onDone: () => void navigate({ to: '/tenants', search: { status: 'deleted' } }),
  });
  return (
    <>
      <Button color="red" onClick={() => setOpen(true)}>
        Delete
      </Button>
      <ConfirmDialog
        opened={isOpen}
        title={`Delete ${name}`}
        confirm="Delete"
        typed={name}
        danger
        busy={remove.isPending}
        error={remove.error}
        onConfirm={() => remove.mutate()}
        onClose={() => setOpen(false)}
      >
        <Text>
          Its keys are refused from now on. Its file goes to the trash; until it is purged there, it can be
          undeleted, with a new key.
        </Text>
      </ConfirmDialog>
    </>
  );
}
