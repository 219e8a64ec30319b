import { Alert, Button, Group, Paper, Stack, Text, TextInput, Title } from '@mantine/core';
import { type FormEvent, type ReactNode, useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { ApiError } from '../../api/problem.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { useMay } from '../scopes.ts';
import { type ConfigDraft, type Faults, faultsOf, inputOf } from './draft.ts';
import { ModelPanel } from './ModelPanel.tsx';
import { PromptPanel } from './PromptPanel.tsx';
import { ToolsPanel } from './ToolsPanel.tsx';
import { useUnsaved } from './useUnsaved.tsx';

export interface ConfigEditorProps {
  /** What the form begins with. */
  initial: ConfigDraft;
  /** The verb on the button. */
  submit: string;
  busy: boolean;
  error: unknown;
  /** Whether what was sent last is kept by now. */
  isSaved: boolean;
  onSubmit: (input: Schema<'ConfigInput'>) => void;
}

interface Form {
  /** What the form began with. */
  base: ConfigDraft;
  draft: ConfigDraft;
  /** What was saved last, or is being saved. */
  sent: ConfigDraft | null;
  /** What the server has, as far as the form knows. */
  latest: ConfigDraft;
}

const formOf = (initial: ConfigDraft): Form => ({
  base: initial,
  draft: initial,
  sent: null,
  latest: initial,
});

const faultsOfError = (error: unknown): Faults =>
  error instanceof ApiError ? Object.fromEntries(error.errors.map((e) => [e.path, e.message])) : {};

/** A config as a form; nothing that was typed is lost by an error. */
export function ConfigEditor({ initial, submit, busy, error, isSaved, onSubmit }: ConfigEditorProps) {
  const mayManage = useMay('manage');
  const [{ base, draft, sent, latest }, setForm] = useState<Form>(() => formOf(initial));
  const isUnchanged = draft === base || (isSaved && draft === sent);
  if (initial !== latest) {
    setForm((before) => (isUnchanged ? formOf(initial) : { ...before, latest: initial }));
  }
  const unsaved = useUnsaved(!isUnchanged);
  const change = (part: Partial<ConfigDraft>): void =>
    setForm((before) => ({ ...before, draft: { ...before.draft, ...part } }));
  const own = faultsOf(draft);
  const hasFaults = Object.keys(own).length > 0;
  const faults = { ...faultsOfError(error), ...own };
  const panel = { draft, faults, readOnly: !mayManage, onChange: change };
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (hasFaults) return;
    setForm((before) => ({ ...before, sent: draft }));
    onSubmit(inputOf(draft));
  };
  return (
    <form onSubmit={send} aria-label="Config">
      <Stack gap="lg">
        <TextInput
          label="Name"
          description="In its prompt it is {agent_name}."
          required
          maxLength={200}
          maw={480}
          autoComplete="off"
          readOnly={!mayManage}
          error={faults.name}
          value={draft.name}
          onChange={({ currentTarget }) => change({ name: currentTarget.value })}
        />
        <PromptPanel
          agentName={draft.name}
          readOnly={!mayManage}
          error={faults.system_prompt}
          value={draft.systemPrompt}
          onChange={(systemPrompt) => change({ systemPrompt })}
        />
        <Section title="Model">
          <ModelPanel {...panel} />
        </Section>
        <Section title="Tools">
          <ToolsPanel {...panel} />
        </Section>
        <ErrorAlert error={error} />
        {latest !== base && !isUnchanged && (
          <Alert color="yellow" title="It was changed meanwhile">
            Somebody has saved another version. Save to replace it with this one, or undo to see it.
          </Alert>
        )}
        {mayManage && (
          <Group justify="flex-end">
            {hasFaults && (
              <Text size="sm" c="red">
                Something above is not right yet.
              </Text>
            )}
            {!isUnchanged && (
              <Button variant="default" onClick={() => setForm(formOf(initial))}>
                Undo changes
              </Button>
            )}
            <Button
              type="submit"
              loading={busy}
              disabled={hasFaults || draft.name.trim() === '' || draft.model.trim() === ''}
            >
              {submit}
            </Button>
          </Group>
        )}
      </Stack>
      {unsaved}
    </form>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper withBorder p="lg">
      <Title order={2} size="h5" mb="md">
        {title}
      </Title>
      {children}
    </Paper>
  );
}
