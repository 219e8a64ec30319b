import { Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { type FormEvent, type ReactNode, useState } from 'react';
import { DialogError } from './ErrorAlert.tsx';

export interface ConfirmDialogProps {
  opened: boolean;
  title: string;
  /** What will happen, and whether it can be undone. */
  children: ReactNode;
  /** The verb on the button. */
  confirm: string;
  /** What has to be typed first, for what cannot be undone easily. */
  typed?: string;
  danger?: boolean;
  busy: boolean;
  error: unknown;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something is done; an error is shown in it and nothing is lost. */
export function ConfirmDialog(props: ConfirmDialogProps) {
  return (
    <Modal opened={props.opened} onClose={props.onClose} title={props.title}>
      <Question {...props} />
    </Modal>
  );
}

// Its own component: what was typed is gone with the dialog.
function Question({ children, confirm, typed, danger = false, busy, error, ...on }: ConfirmDialogProps) {
  const [text, setText] = useState('');
  const isTyped = typed === undefined || asShown(text) === asShown(typed);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (isTyped) on.onConfirm();
  };
  return (
    <form onSubmit={submit}>
      <Stack>
        <div>{children}</div>
        {typed !== undefined && (
          <TextInput
            label={`Type “${typed}” to confirm`}
            autoComplete="off"
            data-autofocus
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
        )}
        <DialogError error={error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={on.onClose}>
            Cancel
          </Button>
          <Button type="submit" {...(danger && { color: 'red' })} loading={busy} disabled={!isTyped}>
            {confirm}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** A page shows several blanks as one, and none at the ends: that is what can be copied from it. */
const asShown = (text: string): string => text.replace(/\s+/g, ' ').trim();
