import { Button, Group, Paper, Stack, Switch, Text, TextInput, Title } from '@mantine/core';
import { type FormEvent, type ReactNode, useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi, useMayOperate } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { useAction } from '../../shared/useAction.ts';
import { CloneButton } from './CloneButton.tsx';
import { DeleteButton } from './DeleteButton.tsx';

type Tenant = Schema<'Tenant'>;

const LOGGING = [
  {
    name: 'log_content',
    label: 'Keep what was said in log rows',
    description: 'Off: rows have figures only.',
  },
  {
    name: 'redact_secrets',
    label: 'Replace what looks like a secret',
    description: 'Before a text is kept in a log row.',
  },
] as const;

/** What the tenant is called, how it logs, and the end of it. */
export function SettingsTab({ tenant }: { tenant: Tenant }) {
  const { client } = useApi();
  const mayOperate = useMayOperate();
  const [name, setName] = useState(tenant.name);
  const change = useAction({
    run: (body: Schema<'TenantPatch'>) =>
      dataOf(client.PATCH('/api/v1/admin/tenants/{id}', { params: { path: { id: tenant.id } }, body })),
    invalidates: [['tenant', tenant.id], ['tenants'], ['stats']],
    done: 'Changed, from the next request on.',
  });
  const rename = (event: FormEvent): void => {
    event.preventDefault();
    change.mutate({ name });
  };
  const isActive = tenant.status === 'active';
  return (
    <Stack>
      <ErrorAlert error={change.error} />
      <Paper component="form" withBorder p="lg" onSubmit={rename} aria-label="Name">
        <Group align="flex-end">
          <TextInput
            label="Name"
            required
            maxLength={200}
            readOnly={!mayOperate}
            value={name}
            onChange={({ currentTarget }) => setName(currentTarget.value)}
            flex={1}
            miw={220}
          />
          {mayOperate && (
            <Button type="submit" variant="default" disabled={name === tenant.name || name.trim() === ''}>
              Rename
            </Button>
          )}
        </Group>
      </Paper>
      <Paper withBorder p="lg">
        <Title order={2} size="h5" mb="md">
          Logs
        </Title>
        <Stack gap="sm">
          {LOGGING.map(({ name: setting, label, description }) => (
            <Switch
              key={setting}
              label={label}
              description={description}
              disabled={!mayOperate || change.isPending}
              checked={tenant.settings[setting]}
              onChange={({ currentTarget }) =>
                change.mutate({ settings: { [setting]: currentTarget.checked } })
              }
            />
          ))}
        </Stack>
      </Paper>
      {mayOperate && (
        <Paper withBorder p="lg">
          <Title order={2} size="h5" mb="md">
            The whole tenant
          </Title>
          <Stack gap="md">
            <Deed text="One SQLite file with everything of the tenant.">
              <Button
                component="a"
                href={`/api/v1/admin/tenants/${tenant.id}/export`}
                download
                variant="default"
              >
                Export
              </Button>
            </Deed>
            <Deed text="A second tenant with a copy of the data and limits, and a key of its own.">
              <CloneButton tenant={tenant} />
            </Deed>
            <Deed
              text={
                isActive
                  ? 'Its keys are refused until it is resumed. Nothing is lost.'
                  : 'It is suspended: its keys are refused.'
              }
            >
              <Button
                variant="default"
                loading={change.isPending}
                onClick={() => change.mutate({ status: isActive ? 'suspended' : 'active' })}
              >
                {isActive ? 'Suspend' : 'Resume'}
              </Button>
            </Deed>
            <Deed text="Its keys die at once; its file goes to the trash, from where it can be brought back.">
              <DeleteButton tenant={tenant} />
            </Deed>
          </Stack>
        </Paper>
      )}
    </Stack>
  );
}

function Deed({ text, children }: { text: string; children: ReactNode }) {
  return (
    <Group justify="space-between" gap="md" wrap="nowrap">
      <Text flex={1}>{text}</Text>
      {children}
    </Group>
  );
}
