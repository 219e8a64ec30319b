import { Badge } from '@mantine/core';

const COLORS: Record<string, string> = {
  active: 'green',
  ok: 'green',
  idle: 'gray.6',
  suspended: 'yellow',
  busy: 'blue',
  awaiting_tools: 'yellow',
  aborted: 'yellow',
  expired: 'gray.6',
  deleted: 'red',
  revoked: 'red',
  error: 'red',
};

/** A status in its own colour, told by its word too. */
export function StatusBadge({ status }: { status: string }) {
  return (
    // Never cut short: in a narrow table the word is all that there is.
    <Badge variant="dot" color={COLORS[status] ?? 'gray.6'} tt="none" fw={500} miw="max-content">
      {status.replaceAll('_', ' ')}
    </Badge>
  );
}
