import { Button, Group, Paper, Stack, Text, TextInput } from '@mantine/core';
import { EmptyState } from '../../shared/EmptyState.tsx';
import type { ToolDraft } from './draft.ts';
import { JsonField } from './JsonField.tsx';
import type { PanelProps } from './ModelPanel.tsx';

const EXAMPLE = `{
  "type": "object",
  "properties": { "path": { "type": "string" } },
  "required": ["path"]
}`;

/** The tools that the model may call. */
export function ToolsPanel({ draft: { tools }, onChange, faults, readOnly }: PanelProps) {
  const add = (): void => {
    const key = Math.max(0, ...tools.map((tool) => tool.key)) + 1;
    onChange({ tools: [...tools, { key, name: '', description: '', parameters: EXAMPLE }] });
  };
  const set = (key: number, change: Partial<ToolDraft>): void =>
    onChange({ tools: tools.map((tool) => (tool.key === key ? { ...tool, ...change } : tool)) });
  return (
    <Stack>
      {tools.length === 0 && (
        <Paper withBorder>
          <EmptyState title="No tools">
            The model only talks. With tools it asks your program to do something, and goes on with the
            result.
          </EmptyState>
        </Paper>
      )}
      {tools.map(({ key, name, description, parameters }, index) => {
        const fault = (field: string) => faults[`tools_config.${index}.${field}`];
        return (
          <Paper key={key} withBorder p="md" role="group" aria-label={`Tool ${name || index + 1}`}>
            <Stack gap="sm">
              <Group align="flex-start" gap="sm">
                <TextInput
                  label="Tool name"
                  required
                  flex={1}
                  miw={180}
                  autoComplete="off"
                  readOnly={readOnly}
                  error={fault('name') ?? faults[`tools_config.${index}`]}
                  value={name}
                  onChange={({ currentTarget }) => set(key, { name: currentTarget.value })}
                />
                <TextInput
                  label="What it does"
                  placeholder="Tells the model when to call it"
                  flex={2}
                  miw={220}
                  maxLength={4096}
                  readOnly={readOnly}
                  error={fault('description')}
                  value={description}
                  onChange={({ currentTarget }) => set(key, { description: currentTarget.value })}
                />
              </Group>
              <JsonField
                label="Arguments, as JSON Schema"
                description="Empty takes any object."
                minRows={2}
                readOnly={readOnly}
                error={fault('parameters')}
                value={parameters}
                onChange={({ currentTarget }) => set(key, { parameters: currentTarget.value })}
              />
              {!readOnly && (
                <Group justify="flex-end">
                  <Button
                    size="compact-sm"
                    variant="default"
                    aria-label={`Remove tool ${name || index + 1}`}
                    onClick={() => onChange({ tools: tools.filter((tool) => tool.key !== key) })}
                  >
                    Remove
                  </Button>
                </Group>
              )}
            </Stack>
          </Paper>
        );
      })}
      {readOnly ? (
        <Text c="dimmed">Your key may look, not change.</Text>
      ) : (
        <Group>
          <Button variant="default" onClick={add}>
            Add a tool
          </Button>
        </Group>
      )}
    </Stack>
  );
}
