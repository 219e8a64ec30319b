import { Button, Group, Modal, Stack } from '@mantine/core';
import type { FormEvent, ReactNode } from 'react';
import { DialogError } from './ErrorAlert.tsx';

export interface FormDialogProps {
  opened: boolean;
  title: string;
  /** The verb on the button. */
  submit: string;
  busy: boolean;
  error: unknown;
  disabled?: boolean;
  onSubmit: () => void;
  onClose: () => void;
  children: ReactNode;
}

/** A form over the page; a refusal is shown in it, and what was typed stays. */
export function FormDialog(props: FormDialogProps) {
  const { opened, title, submit, busy, error, disabled = false, onSubmit, onClose, children } = props;
  const send = (event: FormEvent): void => {
    event.preventDefault();
    onSubmit();
  };
  return (
    // A stray click must not end what runs: a file on its way, say.
    <Modal opened={opened} onClose={onClose} title={title} closeOnClickOutside={!busy}>
      <form onSubmit={send}>
        <Stack>
          {children}
          <DialogError error={error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" loading={busy} disabled={disabled}>
              {submit}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
