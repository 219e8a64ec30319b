import { Code, Drawer, Group, Skeleton, Stack, Table, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ErrorAlert, RequestId } from '../../shared/ErrorAlert.tsx';
import { formatCount, formatMs } from '../../shared/format.ts';
import { ButtonLink } from '../../shared/links.tsx';
import { Money } from '../../shared/Money.tsx';
import { StatusBadge } from '../../shared/StatusBadge.tsx';
import { TimeText } from '../../shared/TimeText.tsx';
import { ConfigLink } from '../ConfigLink.tsx';
import classes from '../chat/Chat.module.css';
import { logQuery } from '../queries.ts';

export interface LogDrawerProps {
  /** Undefined keeps it closed. */
  id: string | undefined;
  onClose: () => void;
}

/** One turn with all of its figures. */
export function LogDrawer({ id, onClose }: LogDrawerProps) {
  return (
    <Drawer
      opened={id !== undefined}
      onClose={onClose}
      title="One turn"
      position="right"
      size="lg"
      styles={{ title: { fontWeight: 700 } }}
      closeButtonProps={{ 'aria-label': 'Close' }}
    >
      {id !== undefined && <Detail id={id} />}
    </Drawer>
  );
}

function Detail({ id }: { id: string }) {
  const { data: log, error, refetch } = useQuery(logQuery(useApi(), id));
  if (error) return <ErrorAlert error={error} onRetry={refetch} />;
  if (!log) return <Skeleton height={320} />;
  const { conversation_id: conversationId } = log;
  return (
    <Stack>
      <Group>
        <ButtonLink
          to="/conversations/$conversationId"
          params={{ conversationId }}
          variant="default"
          preload={false}
        >
          The conversation
        </ButtonLink>
        <ButtonLink to="/logs" search={{ conversation: conversationId }} variant="default" preload={false}>
          All of its turns
        </ButtonLink>
      </Group>
      <Table layout="fixed">
        <Table.Tbody>
          {rowsOf(log).map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" w={150}>
                {name}
              </Table.Th>
              <Table.Td style={{ overflowWrap: 'anywhere' }}>{value}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Said log={log} />
    </Stack>
  );
}

function rowsOf(log: Schema<'LogDetail'>): [name: string, value: ReactNode][] {
  const { usage } = log;
  const estimated = usage.estimated ? ' (estimated)' : '';
  return [
    ['Status', <StatusBadge key="status" status={log.status} />],
    ['Error', log.error_code ? <Code key="error">{log.error_code}</Code> : '–'],
    ['When', <TimeText key="time" at={log.created_at} />],
    ['Config', <ConfigLink key="config" id={log.config_id} />],
    ['Config version', log.config_version],
    ['Model', `${log.provider} ${log.model}`],
    ['User', log.user ?? '–'],
    ['Tokens in', `${formatCount(usage.input_tokens)}${estimated}`],
    ['of them cached', formatCount(usage.cached_input_tokens)],
    ['Tokens out', `${formatCount(usage.output_tokens)}${estimated}`],
    ['of them reasoning', formatCount(usage.reasoning_tokens)],
    ['Cost', <Money key="cost" usd={log.cost_usd} />],
    ['First token', log.first_token_ms === null ? '–' : formatMs(log.first_token_ms)],
    ['Total time', formatMs(log.latency_ms)],
    ['Id', <RequestId key="request" id={log.request_id} />],
  ];
}

function Said({ log: { content } }: { log: Schema<'LogDetail'> }) {
  if (content === null) {
    return (
      <Text c="dimmed" size="sm">
        What was said is not kept in logs here; the conversation has it.
      </Text>
    );
  }
  return (['input', 'output'] as const).map((part) => (
    <section key={part}>
      <Title order={3} size="h6" mb={4}>
        {part === 'input' ? 'What went in' : 'What came out'}
      </Title>
      <Code block className={classes.code ?? ''} tabIndex={0}>
        {content[part] || '(nothing)'}
      </Code>
    </section>
  ));
}
