import { Button, Group, MultiSelect, NumberInput, Paper, SimpleGrid, Stack, Text } from '@mantine/core';
import { type FormEvent, useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { ApiError } from '../../api/problem.ts';
import { useApi, useMayOperate } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { isProvider, PROVIDERS } from '../../shared/providers.ts';
import { useAction } from '../../shared/useAction.ts';

type Limits = Schema<'Limits'>;
type Figure = Exclude<keyof Limits, 'providers'>;

const MIB = 1024 * 1024;

/** What is typed in; its unit may be another than the API's. */
const FIELDS: { name: Figure; label: string; description: string; unit?: number; decimals?: number }[] = [
  { name: 'requests_per_minute', label: 'Turns a minute', description: 'At most so many in any 60 seconds.' },
  { name: 'tokens_per_minute', label: 'Tokens a minute', description: 'What goes in and what comes out.' },
  { name: 'max_concurrent_turns', label: 'Turns at once', description: 'Over all conversations.' },
  {
    name: 'monthly_spend_usd',
    label: 'Spend a month, US$',
    description: 'A turn that could exceed it is refused.',
    decimals: 6,
  },
  {
    name: 'storage_bytes_max',
    label: 'Storage, MiB',
    description: 'Of its database file.',
    unit: MIB,
    decimals: 2,
  },
];

const PLACEHOLDER = 'unlimited';

/** What the tenant may use; an empty field is no limit. */
export function LimitsTab({ tenant }: { tenant: Schema<'Tenant'> }) {
  const api = useApi();
  const mayOperate = useMayOperate();
  const [limits, setLimits] = useState<Limits>(tenant.limits);
  const save = useAction({
    run: () =>
      dataOf(
        api.client.PATCH('/api/v1/admin/tenants/{id}', {
          params: { path: { id: tenant.id } },
          body: { limits: { ...limits, providers: limits.providers?.filter(isProvider) ?? null } },
        }),
      ),
    invalidates: [['tenant', tenant.id], ['tenants']],
    done: 'The limits hold from the next request on.',
  });
  const isUnchanged = JSON.stringify(limits) === JSON.stringify(tenant.limits);
  const faults = save.error instanceof ApiError ? save.error.errors : [];
  const faultOf = (name: keyof Limits) =>
    faults.find(({ path }) => path.startsWith(`limits.${name}`))?.message;
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Paper component="form" onSubmit={submit} withBorder p="lg" aria-label="Limits">
      <Stack>
        <SimpleGrid cols={{ base: 1, sm: 2, md: 3 }}>
          {FIELDS.map(({ name, label, description, unit = 1, decimals = 0 }) => (
            <NumberInput
              key={name}
              label={label}
              description={description}
              placeholder={PLACEHOLDER}
              min={0}
              decimalScale={decimals}
              thousandSeparator=","
              readOnly={!mayOperate}
              error={faultOf(name)}
              value={limits[name] === null ? '' : limits[name] / unit}
              onChange={(value) =>
                setLimits({
                  ...limits,
                  [name]: value === '' ? null : unit === 1 ? Number(value) : Math.round(Number(value) * unit),
                })
              }
            />
          ))}
        </SimpleGrid>
        <MultiSelect
          label="Providers"
          description="Those whose models it may ask."
          placeholder={limits.providers === null ? 'all' : ''}
          data={[...PROVIDERS]}
          clearable
          // All of them at once: a list that scrolls could not be reached by keyboard.
          maxDropdownHeight={480}
          clearButtonProps={{ 'aria-label': 'Allow all providers' }}
          searchable
          readOnly={!mayOperate}
          error={faultOf('providers')}
          value={limits.providers ?? []}
          onChange={(providers) =>
            setLimits({ ...limits, providers: providers.length === 0 ? null : providers })
          }
        />
        <ErrorAlert error={save.error} />
        {mayOperate ? (
          <Group justify="flex-end">
            <Button variant="default" disabled={isUnchanged} onClick={() => setLimits(tenant.limits)}>
              Undo changes
            </Button>
            <Button type="submit" loading={save.isPending} disabled={isUnchanged}>
              Save
            </Button>
          </Group>
        ) : (
          <Text c="dimmed">Your token may look, not change.</Text>
        )}
      </Stack>
    </Paper>
  );
}
