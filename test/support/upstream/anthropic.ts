import type { JsonObject } from '../../../tenant-schema/store.ts';
import {
  type Answer,
  argumentPieces,
  DEFAULT_USAGE,
  type Rendering,
  textPieces,
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

function blocksOf(answer: Answer, freshId: () => string): Block[] {
  const blocks: Block[] = [];
  const { thinking, redactedThinking } = answer;
  if (thinking) {
    blocks.push({
      start: { type: 'thinking', thinking: '', signature: '' },
      pieces: [
        [
          { type: 'thinking_delta', thinking: thinking.text },
          { type: 'signature_delta', signature: thinking.signature },
        ],
      ],
      whole: { type: 'thinking', thinking: thinking.text, signature: thinking.signature },
    });
  }
  if (redactedThinking !== undefined) {
    const block = { type: 'redacted_thinking', data: redactedThinking };
    blocks.push({ start: block, pieces: [[]], whole: block });
  }
  const text = textPieces(answer);
  if (text.length > 0) {
    blocks.push({
      start: { type: 'text', text: '' },
      pieces: text.map((piece) => [{ type: 'text_delta', text: piece }]),
      whole: { type: 'text', text: text.join('') },
    });
  }
  for (const call of answer.toolCalls ?? []) {
    const start = {
      type: 'tool_use',
      id: call.id === null ? '' : (call.id ?? freshId()),
      name: call.name,
      input: {},
    };
    const json = argumentPieces(call);
    blocks.push({
      start,
      pieces: [[], ...json.map((piece) => [{ type: 'input_json_delta', partial_json: piece }])],
      whole: { ...start, input: Array.isArray(call.arguments) ? json.join('') : (call.arguments ?? {}) },
    });
  }
  return blocks;
}

/** Messages: named events ending with `message_stop`, or one `message`. */
export function renderAnthropic(answer: Answer, request: UpstreamRequest, freshId: () => string): Rendering {
  const blocks = blocksOf(answer, freshId);
  const called = (answer.toolCalls ?? []).length > 0;
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
