import { Button, Group, Stack, Text, Textarea } from '@mantine/core';
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from 'react';

export interface ComposerProps {
  isRunning: boolean;
  /** To try without knowing anything; shown until something was sent. */
  suggestions: readonly string[];
  /** The keyboard goes on here. */
  focus: boolean;
  onSend: (message: string) => void;
  onStop: () => void;
}

/** Where the next message is written. */
export function Composer({ isRunning, suggestions, focus, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState('');
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (focus) field.current?.focus();
  }, [focus]);
  const send = (event: FormEvent | KeyboardEvent): void => {
    event.preventDefault();
    if (isRunning || text.trim() === '') return;
    onSend(text);
    setText('');
  };
  const sendOnEnter = (event: KeyboardEvent): void => {
    // Enter that ends the composition of a character is part of the text.
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) send(event);
  };
  return (
    <form onSubmit={send} aria-label="Message">
      <Stack gap="xs">
        {suggestions.length > 0 && (
          <Group gap="xs">
            {suggestions.map((suggestion) => (
              <Button
                key={suggestion}
                size="compact-sm"
                variant="default"
                disabled={isRunning}
                onClick={() => onSend(suggestion)}
              >
                {suggestion}
              </Button>
            ))}
          </Group>
        )}
        <Textarea
          ref={field}
          label="Message"
          placeholder="Ask the agent something"
          autosize
          minRows={2}
          maxRows={10}
          value={text}
          onChange={({ currentTarget }) => setText(currentTarget.value)}
          onKeyDown={sendOnEnter}
        />
        <Group justify="space-between">
          <Text size="xs" c="dimmed">
            Enter sends, Shift+Enter begins a new line.
          </Text>
          {isRunning ? (
            <Button variant="default" onClick={onStop}>
              Stop
            </Button>
          ) : (
            <Button type="submit" disabled={text.trim() === ''}>
              Send
            </Button>
          )}
        </Group>
      </Stack>
    </form>
  );
}
