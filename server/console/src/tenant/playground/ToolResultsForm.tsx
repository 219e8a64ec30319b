import { Button, Checkbox, Group, Paper, Stack, Text, Textarea } from '@mantine/core';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import type { Schema } from '../../api/client.ts';

type ToolResults = NonNullable<Schema<'ChatInput'>['tool_results']>;

export interface ToolResultsFormProps {
  calls: readonly Schema<'ToolCall'>[];
  /** The keyboard goes on here. */
  focus: boolean;
  onSend: (results: ToolResults) => void;
  /** To write a message instead, which answers the calls as cancelled. */
  onCancel: () => void;
}

interface Result {
  content: string;
  isError: boolean;
}

const EMPTY: Result = { content: '', isError: false };

/** Answers the model's calls in the place of the program that would run them. */
export function ToolResultsForm({ calls, focus, onSend, onCancel }: ToolResultsFormProps) {
  const [results, setResults] = useState<Record<string, Result>>({});
  const first = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (focus) first.current?.focus();
  }, [focus]);
  const set = (id: string, change: Partial<Result>): void =>
    setResults((before) => ({ ...before, [id]: { ...(before[id] ?? EMPTY), ...change } }));
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    onSend(
      calls.map(({ id, name }) => {
        const { content, isError } = results[id] ?? EMPTY;
        return { tool_call_id: id, name, content, ...(isError && { is_error: true }) };
      }),
    );
  };
  return (
    <Paper component="form" withBorder p="md" onSubmit={submit} aria-label="Results of the tools">
      <Stack gap="sm">
        <Text size="sm" c="dimmed">
          The model waits for its tools. Your program would run them; here you say what they answer.
        </Text>
        {calls.map(({ id, name }, index) => (
          <div key={id}>
            <Textarea
              label={`Result of ${name}`}
              description="A text, or JSON as text."
              autosize
              minRows={2}
              maxRows={12}
              ref={index === 0 ? first : null}
              value={results[id]?.content ?? ''}
              onChange={({ currentTarget }) => set(id, { content: currentTarget.value })}
            />
            <Checkbox
              mt="xs"
              label={`${name} failed`}
              checked={results[id]?.isError ?? false}
              onChange={({ currentTarget }) => set(id, { isError: currentTarget.checked })}
            />
          </div>
        ))}
        <Group justify="flex-end">
          <Button variant="default" onClick={onCancel}>
            Write a message instead
          </Button>
          <Button type="submit">Send results</Button>
        </Group>
      </Stack>
    </Paper>
  );
}
