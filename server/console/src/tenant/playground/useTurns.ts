import { useEffect, useRef, useState } from 'react';
import type { Schema } from '../../api/client.ts';
import { readEvents, type StreamEvent } from '../../api/events.ts';
import { ApiError } from '../../api/problem.ts';
import { useApi } from '../../session/context.ts';
import { now } from '../../shared/clock.ts';
import { type ChatBody, newTurn, type Turn } from './turn.ts';

export interface Turns {
  turns: readonly Turn[];
  isRunning: boolean;
  /** Takes one turn, to its end. The last one is dropped where it left nothing and this is sent in its place. */
  send(body: ChatBody, options?: { replaces?: Turn }): Promise<void>;
  /** Ends the running turn; what has come of the answer stays. */
  stop(): void;
}

/** What an event makes of a turn. @throws `ApiError` where the turn has failed */
function withEvent(turn: Turn, { name, data }: StreamEvent): Turn {
  const elapsedMs = now() - turn.startedAtMs;
  const firstTokenMs = turn.firstTokenMs ?? elapsedMs;
  switch (name) {
    case 'start':
      return { ...turn, conversationId: (data as Schema<'ChatEventStart'>).conversation_id };
    case 'delta':
      return { ...turn, firstTokenMs, text: turn.text + (data as Schema<'ChatEventDelta'>).text };
    case 'tool_call':
      return { ...turn, firstTokenMs, calls: [...turn.calls, data as Schema<'ToolCall'>] };
    case 'done': {
      const answer = data as Schema<'ChatAnswer'>;
      return { ...turn, state: 'done', answer, calls: answer.tool_calls, totalMs: elapsedMs };
    }
    case 'error':
      throw new ApiError(data as Schema<'Problem'>);
    default:
      return turn;
  }
}

/**
 * The turns that were taken with one config since this was shown.
 * @param onSettled is told of each turn that has ended
 */
export function useTurns(configId: string, onSettled: (turn: Turn) => void): Turns {
  const api = useApi();
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const running = useRef<AbortController | null>(null);
  const count = useRef(0);
  // Nobody reads on: the server ends the turn.
  useEffect(() => () => running.current?.abort(), []);

  const send: Turns['send'] = async (body, options) => {
    const controller = new AbortController();
    running.current = controller;
    count.current += 1;
    let turn = newTurn(count.current, body, now());
    const show = (next: Turn): void => {
      turn = next;
      setTurns((before) => before.map((other) => (other.id === next.id ? next : other)));
    };
    setTurns((before) => [...before.filter(({ id }) => id !== options?.replaces?.id), turn]);
    try {
      const response = await api.send(`/api/v1/chat/${configId}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ ...body, stream: true }),
        signal: controller.signal,
      });
      for await (const event of readEvents(response)) show(withEvent(turn, event));
      if (turn.state === 'running') throw new Error('The answer broke off before its end.');
    } catch (error) {
      const totalMs = now() - turn.startedAtMs;
      // What has ended is not undone by how its connection did.
      if (turn.state === 'done') return;
      if (controller.signal.aborted) show({ ...turn, state: 'stopped', totalMs, calls: [] });
      else show({ ...turn, state: 'failed', error, totalMs, calls: [] });
    } finally {
      running.current = null;
      onSettled(turn);
    }
  };

  return {
    turns,
    isRunning: turns.at(-1)?.state === 'running',
    send,
    stop: () => running.current?.abort(),
  };
}
