import { Button, Group, Text } from '@mantine/core';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { useAction } from '../../shared/useAction.ts';
import { useNewTenant } from './useNewTenant.tsx';

type Tenant = Schema<'Tenant'>;

/** What is to become of a tenant in the trash. */
export interface TrashChoice {
  what: 'undelete' | 'purge';
  tenant: Tenant;
}

interface TrashButtonsProps {
  tenant: Tenant;
  onChoose: (choice: TrashChoice) => void;
}

export function TrashButtons({ tenant, onChoose }: TrashButtonsProps) {
  const button = (what: TrashChoice['what'], label: string) => (
    <Button
      size="compact-sm"
      variant="default"
      aria-label={`${label} ${tenant.name}`}
      onClick={() => onChoose({ what, tenant })}
    >
      {label}
    </Button>
  );
  return (
    <Group gap="xs" wrap="nowrap">
      {button('undelete', 'Undelete')}
      {button('purge', 'Purge')}
    </Group>
  );
}

interface TrashDialogsProps {
  choice: TrashChoice | null;
  onClose: () => void;
}

/** Apart from the buttons: the row of a tenant is gone before its new key has been read. */
export function TrashDialogs({ choice, onClose }: TrashDialogsProps) {
  const { client } = useApi();
  const undelete = useNewTenant(
    ({ id }: Tenant) =>
      dataOf(client.POST('/api/v1/admin/tenants/{id}/undelete', { params: { path: { id } } })),
    onClose,
  );
  const purge = useAction({
    run: ({ id }: Tenant) => {
      const params = { path: { id }, query: { purge: 'true' as const } };
      return dataOf(client.DELETE('/api/v1/admin/tenants/{id}', { params }));
    },
    invalidates: [['tenants'], ['stats'], ['usage']],
    done: 'It is gone for good.',
    onDone: onClose,
  });
  const name = choice?.tenant.name ?? '';
  return (
    <>
      <ConfirmDialog
        opened={choice?.what === 'undelete'}
        title={`Undelete ${name}`}
        confirm="Undelete"
        busy={undelete.action.isPending}
        error={undelete.action.error}
        onConfirm={() => choice && undelete.action.mutate(choice.tenant)}
        onClose={onClose}
      >
        <Text>Its data comes back as it was. The old keys stay dead; a new one is made.</Text>
      </ConfirmDialog>
      <ConfirmDialog
        opened={choice?.what === 'purge'}
        title={`Purge ${name}`}
        confirm="Purge"
        typed={name}
        danger
        busy={purge.isPending}
        error={purge.error}
        onConfirm={() => choice && purge.mutate(choice.tenant)}
        onClose={onClose}
      >
        <Text>Its file, its backups and its name are removed for good. Nothing brings them back.</Text>
      </ConfirmDialog>
      {undelete.keyDialog}
    </>
  );
}
