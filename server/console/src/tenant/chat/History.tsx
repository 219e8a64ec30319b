import { Button, Center } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { MessageList } from './MessageList.tsx';

const PAGE_ROWS = 100;

/** All that was said in a conversation: the latest at once, what was before on demand. */
export function History({ conversation }: { conversation: Schema<'ConversationDetail'> }) {
  const api = useApi();
  const { id, messages, messages_cursor: first } = conversation;
  const [wantsOlder, setWantsOlder] = useState(false);
  const older = useInfiniteQuery({
    queryKey: ['conversations', 'older', id, first],
    enabled: wantsOlder && first !== null,
    initialPageParam: first ?? '',
    queryFn: ({ pageParam, signal }) =>
      dataOf(
        api.client.GET('/api/v1/conversations/{id}/messages', {
          params: { path: { id }, query: { cursor: pageParam, limit: PAGE_ROWS } },
          signal,
        }),
      ),
    getNextPageParam: ({ next_cursor }) => next_cursor,
  });
  const before = older.data?.pages.flatMap(({ data }) => data).reverse() ?? [];
  const hasMore = older.data ? older.hasNextPage : first !== null;
  const showOlder = (): void => {
    if (wantsOlder) void older.fetchNextPage();
    else setWantsOlder(true);
  };
  return (
    <>
      <ErrorAlert error={older.error} />
      {hasMore && (
        <Center>
          <Button variant="default" size="compact-sm" loading={older.isFetching} onClick={showOlder}>
            Show older messages
          </Button>
        </Center>
      )}
      <MessageList messages={[...before, ...messages]} />
    </>
  );
}

/** The calls that the model still waits for. */
export function openCallsOf({ status, messages }: Schema<'ConversationDetail'>): Schema<'ToolCall'>[] {
  if (status !== 'awaiting_tools') return [];
  return messages.findLast(({ role }) => role === 'assistant')?.tool_calls ?? [];
}
