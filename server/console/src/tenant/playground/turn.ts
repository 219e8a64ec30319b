import type { Schema } from '../../api/client.ts';
import { ApiError } from '../../api/problem.ts';

export type ChatBody = Omit<Schema<'ChatInput'>, 'stream'>;

/** One turn as this page has seen it. */
export interface Turn {
  /** Counts from 1; the page's own. */
  id: number;
  /** What was sent. */
  body: ChatBody;
  /** The answer as far as it has come. */
  text: string;
  calls: Schema<'ToolCall'>[];
  state: 'running' | 'done' | 'stopped' | 'failed';
  answer: Schema<'ChatAnswer'> | null;
  error: unknown;
  /** From the server, as soon as the turn has begun. */
  conversationId: string | null;
  startedAtMs: number;
  /** Both since the start, as this page sees it; null until then. */
  firstTokenMs: number | null;
  totalMs: number | null;
}

export const newTurn = (id: number, body: ChatBody, startedAtMs: number): Turn => ({
  id,
  body,
  text: '',
  calls: [],
  state: 'running',
  answer: null,
  error: null,
  conversationId: null,
  startedAtMs,
  firstTokenMs: null,
  totalMs: null,
});

/** Whether the turn left anything in the conversation: one that failed, or was stopped too early, did not. */
export const isKept = ({ state, text }: Turn): boolean =>
  state === 'done' || (state === 'stopped' && text !== '');

/** The conversation that the next turn continues. */
export const conversationAfter = (turns: readonly Turn[], base: string | null): string | null =>
  turns.findLast(isKept)?.conversationId ?? base;

/** The calls that the model waits for after these turns. @param base those it waited for before them */
export function openCallsAfter(
  turns: readonly Turn[],
  base: readonly Schema<'ToolCall'>[],
): readonly Schema<'ToolCall'>[] {
  let open = base;
  for (const turn of turns) {
    if (turn.state === 'done') open = turn.answer?.finish_reason === 'tool_calls' ? turn.calls : [];
    else if (isKept(turn)) open = [];
    else if (turn.error instanceof ApiError && turn.error.openCalls.length > 0) open = turn.error.openCalls;
  }
  return open;
}
