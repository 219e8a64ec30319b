import { Paper, SimpleGrid, Stack, Text, TextInput, Title } from '@mantine/core';
import { useState } from 'react';
import { utcDayBefore } from '../../shared/clock.ts';
import { useTenantSession } from '../scopes.ts';
import { customVariablesOf } from '../template.ts';
import classes from './Prompt.module.css';
import { PromptField, type PromptFieldProps, PromptPreview } from './PromptField.tsx';

export interface PromptPanelProps extends PromptFieldProps {
  agentName: string;
}

/** The prompt beside what becomes of it. */
export function PromptPanel({ agentName, ...field }: PromptPanelProps) {
  const { tenant } = useTenantSession();
  const [samples, setSamples] = useState<Record<string, string>>({});
  const names = customVariablesOf(field.value);
  const values = { ...samples, tenant_name: tenant.name, agent_name: agentName, date: utcDayBefore(0) };
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }}>
      <PromptField {...field} />
      <Stack gap="sm">
        <div>
          <Title order={2} size="h5">
            What the model is told
          </Title>
          <Text size="sm" c="dimmed">
            {names.length === 0
              ? 'As it would be today.'
              : 'Requests give the values of its own variables; try some here.'}
          </Text>
        </div>
        {names.length > 0 && (
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {names.map((name) => (
              <TextInput
                key={name}
                label={`{${name}}`}
                placeholder="Stays as it is written"
                value={samples[name] ?? ''}
                onChange={({ currentTarget: { value } }) =>
                  setSamples((before) => ({ ...before, [name]: value }))
                }
              />
            ))}
          </SimpleGrid>
        )}
        <Paper withBorder className={classes.preview ?? ''} role="region" aria-label="Preview" tabIndex={0}>
          <PromptPreview template={field.value} values={values} />
        </Paper>
      </Stack>
    </SimpleGrid>
  );
}
