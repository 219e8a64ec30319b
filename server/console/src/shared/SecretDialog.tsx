import { Alert, Button, Code, CopyButton, Group, Modal, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';

export interface SecretDialogProps {
  /** Null keeps the dialog closed. */
  secret: string | null;
  title: string;
  /** What the secret is for. */
  children: ReactNode;
  onClose: () => void;
}

/** Shows a secret this once: it closes only by its button, so that no stray click loses it. */
export function SecretDialog({ secret, title, children, onClose }: SecretDialogProps) {
  return (
    <Modal
      opened={secret !== null}
      onClose={onClose}
      title={title}
      size="lg"
      withCloseButton={false}
      closeOnClickOutside={false}
      closeOnEscape={false}
    >
      <Stack>
        <Text>{children}</Text>
        <Code block data-testid="secret" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
          {secret}
        </Code>
        <Alert color="gray" title="It is shown this once">
          The server keeps only a hash of it. Copy it now to where it is needed.
        </Alert>
        <Group justify="flex-end">
          <CopyButton value={secret ?? ''}>
            {({ copied, copy }) => (
              <Button variant="default" onClick={copy} data-autofocus>
                {copied ? 'Copied' : 'Copy'}
              </Button>
            )}
          </CopyButton>
          <Button onClick={onClose}>I have kept it</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
