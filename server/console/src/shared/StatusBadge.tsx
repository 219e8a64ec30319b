import { Badge } from '@mantine/core';

const COLORS: Record<string, string> = {
  active: 'green',
  ok: 'green',
  idle: 'gray',
  suspended: 'yellow',
  busy: 'blue',
  awaiting_tools: 'yellow',
  aborted: 'yellow',
  expired: 'gray',
  deleted: 'red',
  revoked: 'red',
  error: 'red',
};

/** A status in its own colour, told by its word too. */
export function StatusBadge({ status }: { status: string }) {
  return (
    <Badge variant="dot" color={COLORS[status] ?? 'gray'} tt="none" fw={500}>
      {status.replaceAll('_', ' ')}
    </Badge>
  );
}
