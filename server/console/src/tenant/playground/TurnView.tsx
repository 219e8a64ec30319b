import { Button, Group, Loader, Text } from '@mantine/core';
import { ApiError } from '../../api/problem.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatCount, formatMs } from '../../shared/format.ts';
import { ButtonLink } from '../../shared/links.tsx';
import { Money } from '../../shared/Money.tsx';
import { Bubble, BubbleText } from '../chat/Bubble.tsx';
import { ToolCallCard } from '../chat/ToolCallCard.tsx';
import type { Turn } from './turn.ts';

export interface TurnViewProps {
  turn: Turn;
  /** What a tool is called whose call has this id. */
  toolName: (callId: string) => string;
  /** Undefined where it cannot be taken again. */
  onRetry?: (() => void) | undefined;
  onShowCode: () => void;
}

/** What was asked in a turn, what came of it, and what that took. */
export function TurnView({ turn, toolName, onRetry, onShowCode }: TurnViewProps) {
  const { body, text, calls, state, error } = turn;
  const results = body.tool_results ?? [];
  return (
    <>
      {body.message !== undefined && (
        <Bubble by="user">
          <BubbleText>{body.message}</BubbleText>
        </Bubble>
      )}
      {results.map(({ tool_call_id: id, content, is_error }) => (
        <Bubble key={id} by="tool" note={`${toolName(id ?? '')}${is_error ? ' · failed' : ''}`}>
          <BubbleText>{String(content)}</BubbleText>
        </Bubble>
      ))}
      {(state !== 'failed' || text !== '') && (
        <Bubble by="assistant" note={state === 'stopped' ? 'stopped before its end' : undefined}>
          {text !== '' && <BubbleText>{text}</BubbleText>}
          {state === 'running' && text === '' && <Loader type="dots" size="sm" aria-label="Waiting" />}
          {calls.map((call) => (
            <ToolCallCard key={call.id} call={call} />
          ))}
        </Bubble>
      )}
      <ErrorAlert error={error} />
      {error instanceof ApiError && error.code === 'provider_not_configured' && (
        <Group>
          <ButtonLink to="/keys" search={{ tab: 'providers' }}>
            Give a provider key
          </ButtonLink>
        </Group>
      )}
      {state !== 'running' && (
        <Group justify="space-between" gap="xs">
          <Figures turn={turn} />
          <Group gap="xs">
            {onRetry && (
              <Button size="compact-sm" variant="default" onClick={onRetry}>
                {state === 'done' ? 'Ask again' : 'Try again'}
              </Button>
            )}
            <Button size="compact-sm" variant="default" onClick={onShowCode}>
              Copy as code
            </Button>
          </Group>
        </Group>
      )}
    </>
  );
}

function Figures({ turn: { answer, firstTokenMs, totalMs } }: { turn: Turn }) {
  return (
    <Text size="sm" c="dimmed" component="div">
      {answer && (
        <>
          {answer.model} · {formatCount(answer.usage.input_tokens)} tokens in,{' '}
          {formatCount(answer.usage.output_tokens)} out · <Money usd={answer.cost_usd} /> ·{' '}
        </>
      )}
      {firstTokenMs !== null && <>first token {formatMs(firstTokenMs)} · </>}
      {totalMs !== null && <>total {formatMs(totalMs)}</>}
    </Text>
  );
}
