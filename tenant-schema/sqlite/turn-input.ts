import { Fault } from '../fault.ts';
import type { IdMaker } from '../ids.ts';
import type { MessageDraft, ToolCall, TurnInput, TurnSize } from '../store.ts';
import { CANCELLED_CONTENT, matchToolResults } from '../tool-calls.ts';

// What a client brings to a turn.

/** What it brings, as messages; checks that it fits what the conversation waits for. */
export function toInputMessages(input: TurnInput, past: MessageDraft[], ids: IdMaker): MessageDraft[] {
  const openCalls = openCallsOf(past);
  if (input.kind === 'tool_results') {
    return matchToolResults(openCalls, input.results).map(({ call, content, isError }) =>
      toolMessage(ids(), call, content, isError),
    );
  }
  if (openCalls.length > 0 && !input.cancelToolCalls) {
    throw new Fault(
      'tool_results_pending',
      'The conversation waits for tool results; post them, or set "cancel_tool_calls".',
      { details: { openCalls } },
    );
  }
  return [
    ...openCalls.map((call) => toolMessage(ids(), call, CANCELLED_CONTENT, true)),
    { role: 'user', id: ids(), content: input.text },
  ];
}

/**
 * How large the turn is, as far as it is known before the history is read.
 * @param openCalls how many calls wait for results; where they are cancelled, each becomes a message
 */
export function sizeOf(
  conversation: { historyBytes: number; messageCount: number } | null,
  input: TurnInput,
  openCalls: number,
): TurnSize {
  const texts =
    input.kind === 'message'
      ? [input.text, ...Array<string>(input.cancelToolCalls ? openCalls : 0).fill(CANCELLED_CONTENT)]
      : input.results.map(({ content }) => content);
  return {
    historyBytes: conversation?.historyBytes ?? 0,
    historyMessages: conversation?.messageCount ?? 0,
    inputBytes: texts.reduce((bytes, text) => bytes + Buffer.byteLength(text), 0),
    inputMessages: texts.length,
  };
}

/** The calls at the end of a conversation that wait for results: all of them or none, since results come together. */
export function openCallsOf(past: MessageDraft[]): ToolCall[] {
  const last = past.at(-1);
  return last?.role === 'assistant' ? last.toolCalls : [];
}

const toolMessage = (id: string, call: ToolCall, content: string, isError: boolean): MessageDraft => ({
  role: 'tool',
  id,
  toolCallId: call.id,
  name: call.name,
  content,
  isError,
});
