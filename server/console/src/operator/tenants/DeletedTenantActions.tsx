import { Button, Group, Text } from '@mantine/core';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { useAction } from '../../shared/useAction.ts';
import { useNewTenant } from './useNewTenant.tsx';

/** Back from the trash, or gone for good. */
export function DeletedTenantActions({ tenant }: { tenant: Schema<'Tenant'> }) {
  const api = useApi();
  const params = { path: { id: tenant.id } };
  const [open, setOpen] = useState<'undelete' | 'purge' | null>(null);
  const close = (): void => setOpen(null);
  const undelete = useNewTenant<void>(
    () => dataOf(api.client.POST('/api/v1/admin/tenants/{id}/undelete', { params })),
    close,
  );
  const purge = useAction({
    run: () =>
      dataOf(
        api.client.DELETE('/api/v1/admin/tenants/{id}', { params: { ...params, query: { purge: 'true' } } }),
      ),
    invalidates: [['tenants'], ['stats']],
    done: `${tenant.name} is gone for good.`,
    onDone: close,
  });
  return (
    <Group gap="xs" wrap="nowrap">
      <Button size="compact-sm" variant="default" onClick={() => setOpen('undelete')}>
        Undelete
      </Button>
      <Button size="compact-sm" variant="default" onClick={() => setOpen('purge')}>
        Purge
      </Button>
      <ConfirmDialog
        opened={open === 'undelete'}
        title={`Undelete ${tenant.name}`}
        confirm="Undelete"
        busy={undelete.action.isPending}
        error={undelete.action.error}
        onConfirm={() => undelete.action.mutate()}
        onClose={close}
      >
        <Text>Its data comes back as it was. The old keys stay dead; a new one is made.</Text>
      </ConfirmDialog>
      <ConfirmDialog
        opened={open === 'purge'}
        title={`Purge ${tenant.name}`}
        confirm="Purge"
        typed={tenant.name}
        danger
        busy={purge.isPending}
        error={purge.error}
        onConfirm={() => purge.mutate()}
        onClose={close}
      >
        <Text>Its file, its backups and its name are removed for good. Nothing brings them back.</Text>
      </ConfirmDialog>
      {undelete.keyDialog}
    </Group>
  );
}
