import { Text } from '@mantine/core';
import type { ReactNode } from 'react';
import classes from './Chat.module.css';

const NAMES = { user: 'User', assistant: 'Assistant', tool: 'Tool' };

export interface BubbleProps {
  /** Who says it. */
  by: keyof typeof NAMES;
  /** Beside the name. */
  note?: ReactNode;
  children: ReactNode;
}

/** What one side of a conversation said. */
export function Bubble({ by, note, children }: BubbleProps) {
  return (
    <article className={`${classes.message} ${classes[by]}`} aria-label={NAMES[by]}>
      <Text size="xs" c="dimmed" fw={600} mb={4}>
        {NAMES[by]}
        {note && <> · {note}</>}
      </Text>
      {children}
    </article>
  );
}

export function BubbleText({ children }: { children: string }) {
  return (
    <Text className={classes.text ?? ''} component="div">
      {children || '(nothing)'}
    </Text>
  );
}
