import { Code } from '@mantine/core';
import type { Schema } from '../../api/client.ts';
import { TimeText } from '../../shared/TimeText.tsx';
import { Bubble, BubbleText } from './Bubble.tsx';
import { ToolCallCard } from './ToolCallCard.tsx';

type Message = Schema<'Message'>;

/** Messages of a conversation, oldest first. */
export function MessageList({ messages }: { messages: readonly Message[] }) {
  const toolOf = new Map(messages.flatMap(({ tool_calls }) => tool_calls.map(({ id, name }) => [id, name])));
  return messages.map((message) => (
    <Bubble
      key={message.id}
      by={message.role}
      note={
        <>
          {message.role === 'tool' && message.tool_call_id !== null && (
            <>
              <Code>{toolOf.get(message.tool_call_id) ?? message.tool_call_id}</Code>{' '}
            </>
          )}
          <TimeText at={message.created_at} />
          {message.status === 'incomplete' && ' · stopped before its end'}
        </>
      }
    >
      {(message.content || message.role === 'tool') && <BubbleText>{message.content ?? ''}</BubbleText>}
      {message.tool_calls.map((call) => (
        <ToolCallCard key={call.id} call={call} />
      ))}
    </Bubble>
  ));
}
