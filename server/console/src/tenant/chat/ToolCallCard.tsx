import { Code, Paper, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { Schema } from '../../api/client.ts';
import classes from './Chat.module.css';

export interface ToolCallCardProps {
  call: Schema<'ToolCall'>;
  children?: ReactNode;
}

/** A tool that the model wants to be run, and with what. */
export function ToolCallCard({ call, children }: ToolCallCardProps) {
  return (
    <Paper withBorder p="sm" mt="xs">
      <Text size="sm" mb={4}>
        Calls <Code>{call.name}</Code>
      </Text>
      <Code block className={classes.code ?? ''} tabIndex={0} aria-label={`Arguments of ${call.name}`}>
        {JSON.stringify(call.arguments, null, 2)}
      </Code>
      {children}
    </Paper>
  );
}
