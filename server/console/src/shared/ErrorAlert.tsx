import { Alert, Button, Code, CopyButton, Group, List, Text, UnstyledButton } from '@mantine/core';
import { useState } from 'react';
import { ApiError } from '../api/problem.ts';

export interface ErrorAlertProps {
  /** Nothing is shown for null. */
  error: unknown;
  onRetry?: () => void;
}

/** An error with what the server says of it, and the request id under which its log has more. */
export function ErrorAlert({ error, onRetry }: ErrorAlertProps) {
  if (error === null || error === undefined) return null;
  const known = error instanceof ApiError ? error : null;
  return (
    <Alert color="red" title={known?.title ?? 'The page failed'} role="alert">
      <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text>
      {known && known.errors.length > 0 && (
        <List size="sm" mt="xs">
          {known.errors.map(({ path, message }) => (
            <List.Item key={`${path} ${message}`}>
              <Code>{path || 'body'}</Code> {message}
            </List.Item>
          ))}
        </List>
      )}
      <Group mt="xs" gap="xs">
        {known?.requestId && <RequestId id={known.requestId} />}
        {onRetry && (
          <Button size="compact-sm" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
      </Group>
    </Alert>
  );
}

/** The error of what a dialog asked for: not one of the last time that it was open, when it asked for something else. */
export function DialogError({ error }: Pick<ErrorAlertProps, 'error'>) {
  const [before] = useState(error);
  return <ErrorAlert error={error === before ? null : error} />;
}

/** A request's id, to be found again in the server's log. */
export function RequestId({ id, short = false }: { id: string; short?: boolean }) {
  return (
    <CopyButton value={id}>
      {({ copied, copy }) => (
        <UnstyledButton onClick={copy} title={`Copy the request id ${id}`}>
          <Code style={{ overflowWrap: 'anywhere' }}>
            {copied ? 'Copied' : short ? `…${id.slice(-8)}` : `Request ${id}`}
          </Code>
        </UnstyledButton>
      )}
    </CopyButton>
  );
}
