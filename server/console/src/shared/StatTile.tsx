import { Paper, Skeleton, Text } from '@mantine/core';
import type { ReactNode } from 'react';

export interface StatTileProps {
  label: string;
  /** Undefined while it is not known yet. */
  value: ReactNode;
  detail?: ReactNode;
}

/** One figure that is worth a glance. */
export function StatTile({ label, value, detail }: StatTileProps) {
  return (
    <Paper withBorder p="md">
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text component="div" size="xl" fw={700} style={{ fontVariantNumeric: 'tabular-nums' }}>
        {value ?? <Skeleton height={28} width={80} my={2} />}
      </Text>
      {detail !== undefined && (
        <Text component="div" size="xs" c="dimmed">
          {detail}
        </Text>
      )}
    </Paper>
  );
}
