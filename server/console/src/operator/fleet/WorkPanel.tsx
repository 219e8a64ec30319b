import { Box, Button, Group, Paper, Progress, Stack, Text, Title } from '@mantine/core';
import type { ReactNode } from 'react';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatCount } from '../../shared/format.ts';
import type { StreamedWork } from './useStream.ts';

export interface WorkPanelProps<Done> {
  title: string;
  description: string;
  work: StreamedWork<Done>;
  /** The buttons that begin it. */
  actions: ReactNode;
  summary: (result: Done) => ReactNode;
  children?: ReactNode;
}

/** Work on all files: what begins it, how far it is, what became of it. */
export function WorkPanel<Done>({
  title,
  description,
  work,
  actions,
  summary,
  children,
}: WorkPanelProps<Done>) {
  const { state, progress, result, error, stop } = work;
  const share = progress && progress.total > 0 ? progress.done / progress.total : 0;
  return (
    <Paper withBorder p="md" component="section" aria-label={title}>
      <Stack>
        <Group justify="space-between" align="flex-start">
          <Box flex={1} miw={260}>
            <Title order={2} size="h5">
              {title}
            </Title>
            <Text c="dimmed" size="sm" mt={4}>
              {description}
            </Text>
          </Box>
          <Group gap="xs">
            {state === 'running' ? (
              <Button variant="default" onClick={stop}>
                Stop
              </Button>
            ) : (
              actions
            )}
          </Group>
        </Group>
        {state === 'running' && (
          <div>
            <Progress value={share * 100} animated aria-label={`${title}: progress`} />
            <Text size="sm" mt={4} aria-live="polite">
              {progress
                ? `${formatCount(progress.done)} of ${formatCount(progress.total)} files`
                : 'Beginning…'}
            </Text>
          </div>
        )}
        <ErrorAlert error={error} />
        {result !== null && <Text role="status">{summary(result)}</Text>}
        {children}
      </Stack>
    </Paper>
  );
}
