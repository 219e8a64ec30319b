import type { JsonObject } from '../../../tenant-schema/store.ts';
import {
  type Answer,
  argumentPieces,
  DEFAULT_USAGE,
  piecesOf,
  type Rendering,
  type ScriptedCall,
  type ScriptedThinking,
  type UpstreamRequest,
} from './answer.ts';

const event = (data: JsonObject & { type: string }): string =>
  `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`;

/** A block of the answer: how it begins, and its deltas grouped by piece. */
interface Block {
  start: JsonObject;
  /** The first group is sent together with the beginning, the block's end together with the last one. */
  pieces: JsonObject[][];
  whole: JsonObject;
}

const thinkingBlock = ({ text, signature }: ScriptedThinking): Block => ({
  start: { type: 'thinking', thinking: '', signature: '' },
  pieces: [
    [
      ...piecesOf(text).map((piece) => ({ type: 'thinking_delta', thinking: piece })),
      { type: 'signature_delta', signature },
    ],
  ],
  whole: { type: 'thinking', thinking: piecesOf(text).join(''), signature },
});

function redactedBlock(data: string): Block {
  const block = { type: 'redacted_thinking', data };
  return { start: block, pieces: [[]], whole: block };
}

const textBlock = (text: string[]): Block => ({
  start: { type: 'text', text: '' },
  pieces: text.map((piece) => [{ type: 'text_delta', text: piece }]),
  whole: { type: 'text', text: text.join('') },
});

function callBlock(call: ScriptedCall, freshId: () => string): Block {
  const id = call.id === null ? '' : (call.id ?? freshId());
  const start = { type: 'tool_use', id, name: call.name, input: {} };
  const json = argumentPieces(call);
  return {
    start,
    pieces: [[], ...json.map((piece) => [{ type: 'input_json_delta', partial_json: piece }])],
    whole: { ...start, input: Array.isArray(call.arguments) ? json.join('') : (call.arguments ?? {}) },
  };
}

function blocksOf(answer: Answer, freshId: () => string): Block[] {
  const { thinking, redactedThinking } = answer;
  const text = piecesOf(answer.text);
  return [
    ...(thinking ? [thinkingBlock(thinking)] : []),
    ...(redactedThinking === undefined ? [] : [redactedBlock(redactedThinking)]),
    ...(text.length === 0 ? [] : [textBlock(text)]),
    ...(answer.toolCalls ?? []).map((call) => callBlock(call, freshId)),
    ...(answer.blocks ?? []).map((block) => {
      if ('thinking' in block) return thinkingBlock(block.thinking);
      if ('redactedThinking' in block) return redactedBlock(block.redactedThinking);
      return 'text' in block ? textBlock([block.text]) : callBlock(block.toolCall, freshId);
    }),
  ];
}

/** Messages: named events ending with `message_stop`, or one `message`. */
export function renderAnthropic(answer: Answer, request: UpstreamRequest, freshId: () => string): Rendering {
  const blocks = blocksOf(answer, freshId);
  const called = blocks.some((block) => block.start.type === 'tool_use');
  const stopReason = answer.finish === undefined ? (called ? 'tool_use' : 'end_turn') : answer.finish;
  const figures = answer.usage === null ? null : (answer.usage ?? DEFAULT_USAGE);
  const inputUsage = figures && {
    input_tokens: figures.input - (figures.cached ?? 0) - (figures.cacheCreation ?? 0),
    cache_read_input_tokens: figures.cached ?? 0,
    cache_creation_input_tokens: figures.cacheCreation ?? 0,
  };
  const base = {
    id: 'msg_scripted',
    type: 'message',
    role: 'assistant',
    model: request.body.model,
    stop_sequence: null,
  };

  const pieces = blocks.flatMap((block, index) =>
    block.pieces.map((deltas, at) =>
      [
        ...(at === 0 ? [event({ type: 'content_block_start', index, content_block: block.start })] : []),
        ...deltas.map((delta) => event({ type: 'content_block_delta', index, delta })),
        ...(at === block.pieces.length - 1 ? [event({ type: 'content_block_stop', index })] : []),
      ].join(''),
    ),
  );
  return {
    head:
      event({
        type: 'message_start',
        message: {
          ...base,
          content: [],
          stop_reason: null,
          ...(inputUsage && { usage: { ...inputUsage, output_tokens: 1 } }),
        },
      }) + event({ type: 'ping' }),
    pieces,
    tail:
      stopReason === null
        ? ''
        : event({
            type: 'message_delta',
            delta: { stop_reason: stopReason, stop_sequence: null },
            ...(figures && { usage: { output_tokens: figures.output } }),
          }) + event({ type: 'message_stop' }),
    json: {
      ...base,
      content: blocks.map((block) => block.whole),
      stop_reason: stopReason,
      ...(figures && { usage: { ...inputUsage, output_tokens: figures.output } }),
    },
  };
}

const ERROR_TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  429: 'rate_limit_error',
  529: 'overloaded_error',
};

export const anthropicErrorBody = (status: number, message: string): JsonObject => ({
  type: 'error',
  error: { type: ERROR_TYPES[status] ?? 'api_error', message },
  request_id: 'req_scripted',
});

export const anthropicErrorEvent = (type: string, message: string): string =>
  event({ type: 'error', error: { type, message } });

export const ANTHROPIC_BROKEN_EVENT =
  'event: content_block_delta\ndata: {"type":"content_block_delta","ind\n\n';
