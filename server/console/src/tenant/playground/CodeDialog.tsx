import { Button, Code, CopyButton, Group, Modal, Tabs, Text } from '@mantine/core';
import classes from '../chat/Chat.module.css';
import { snippetsOf } from './snippets.ts';
import type { ChatBody } from './turn.ts';

export interface CodeDialogProps {
  configId: string;
  /** Null keeps the dialog closed. */
  body: ChatBody | null;
  onClose: () => void;
}

/** The same turn as a program takes it. */
export function CodeDialog({ configId, body, onClose }: CodeDialogProps) {
  const snippets = body === null ? [] : snippetsOf(location.origin, configId, body);
  return (
    <Modal opened={body !== null} onClose={onClose} title="This turn as code" size="xl">
      <Text size="sm" c="dimmed" mb="sm">
        It reads one of your API keys from the environment; make one under “Keys”.
      </Text>
      <Tabs defaultValue="curl">
        <Tabs.List aria-label="Languages">
          {snippets.map(({ label }) => (
            <Tabs.Tab key={label} value={label}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {snippets.map(({ label, source }) => (
          <Tabs.Panel key={label} value={label} pt="sm">
            <Code block className={classes.code ?? ''} tabIndex={0} aria-label={`The turn as ${label}`}>
              {source}
            </Code>
            <Group justify="flex-end" mt="sm">
              <CopyButton value={source}>
                {({ copied, copy }) => (
                  <Button onClick={copy}>{copied ? 'Copied' : `Copy as ${label}`}</Button>
                )}
              </CopyButton>
            </Group>
          </Tabs.Panel>
        ))}
      </Tabs>
    </Modal>
  );
}
