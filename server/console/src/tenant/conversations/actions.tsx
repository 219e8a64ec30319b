import { Button, Text, TextInput } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { FormDialog } from '../../shared/FormDialog.tsx';
import { useAction } from '../../shared/useAction.ts';

interface Props {
  conversation: Schema<'ConversationDetail'>;
}

const PATH = '/api/v1/conversations/{id}';

/** Gives a conversation a title. */
export function RenameButton({ conversation: { id, title } }: Props) {
  const { client } = useApi();
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState(title ?? '');
  const rename = useAction({
    run: () => dataOf(client.PATCH(PATH, { params: { path: { id } }, body: { title: text || null } })),
    invalidates: [['conversations']],
    onDone: () => setOpen(false),
  });
  return (
    <>
      <Button variant="default" onClick={() => setOpen(true)}>
        Rename
      </Button>
      <FormDialog
        opened={isOpen}
        title="Rename the conversation"
        submit="Rename"
        busy={rename.isPending}
        error={rename.error}
        onSubmit={() => rename.mutate()}
        onClose={() => setOpen(false)}
      >
        <TextInput
          label="Title"
          maxLength={200}
          data-autofocus
          value={text}
          onChange={({ currentTarget }) => setText(currentTarget.value)}
        />
      </FormDialog>
    </>
  );
}

/** Deletes a conversation with its messages. */
export function DeleteButton({ conversation: { id } }: Props) {
  const { client } = useApi();
  const navigate = useNavigate();
  const [isOpen, setOpen] = useState(false);
  const remove = useAction({
    run: () => dataOf(client.DELETE(PATH, { params: { path: { id } } })),
    invalidates: [['conversations', 'pages']],
    done: 'The conversation is deleted.',
    onDone: () => void navigate({ to: '/conversations' }),
  });
  return (
    <>
      <Button variant="default" onClick={() => setOpen(true)}>
        Delete
      </Button>
      <ConfirmDialog
        opened={isOpen}
        title="Delete the conversation"
        confirm="Delete"
        danger
        busy={remove.isPending}
        error={remove.error}
        onConfirm={() => remove.mutate()}
        onClose={() => setOpen(false)}
      >
        <Text>Its messages are gone for good. Its logs stay, with their figures.</Text>
      </ConfirmDialog>
    </>
  );
}
