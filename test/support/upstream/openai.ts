import type { JsonObject } from '../../../tenant-schema/store.ts';
import {
  type Answer,
  argumentPieces,
  DEFAULT_USAGE,
  piecesOf,
  type Rendering,
  type ScriptedCall,
  type ScriptedUsage,
  type UpstreamRequest,
} from './answer.ts';

const usageOf = (usage: ScriptedUsage): JsonObject => ({
  prompt_tokens: usage.input,
  completion_tokens: usage.output - (usage.reasoningApart ? (usage.reasoning ?? 0) : 0),
  total_tokens: usage.input + usage.output,
  prompt_tokens_details: { cached_tokens: usage.cached ?? 0 },
  completion_tokens_details: { reasoning_tokens: usage.reasoning ?? 0 },
});

const event = (data: JsonObject): string => `data: ${JSON.stringify(data)}\n\n`;

/** The chunks of one call: its beginning, then each piece of its arguments. */
function callDeltas(call: ScriptedCall, index: number, id: string): JsonObject[] {
  const pieces = argumentPieces(call);
  const identity = { ...(call.id === null ? {} : { id }), type: 'function', ...call.vendor };
  if (call.whole) return [{ ...identity, function: { name: call.name, arguments: pieces.join('') } }];
  return [
    { index, ...identity, function: { name: call.name, arguments: '' } },
    ...pieces.map((piece) => ({ index, function: { arguments: piece } })),
  ];
}

/** Chat Completions: chunks ending with `[DONE]`, or one `chat.completion`. */
export function renderOpenAi(answer: Answer, request: UpstreamRequest, freshId: () => string): Rendering {
  const base = { id: 'chatcmpl-scripted', created: 1_700_000_000, model: request.body.model };
  const text = piecesOf(answer.text);
  const calls = (answer.toolCalls ?? []).map((call) => ({ call, id: call.id ?? freshId() }));
  const finish = answer.finish === undefined ? (calls.length > 0 ? 'tool_calls' : 'stop') : answer.finish;
  const usage = answer.usage === null ? null : usageOf(answer.usage ?? DEFAULT_USAGE);

  const chunk = (delta: JsonObject, finishReason: string | null = null, more: JsonObject = {}): string =>
    event({
      ...base,
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, finish_reason: finishReason }],
      ...more,
    });
  const deltas: JsonObject[] = [
    ...piecesOf(answer.thinking?.text).map((piece) => ({ reasoning_content: piece })),
    ...text.map((content) => ({ content })),
    ...(answer.refusal === undefined ? [] : [{ refusal: answer.refusal }]),
    ...calls.flatMap(({ call, id }, index) =>
      callDeltas(call, index, id).map((delta) => ({ tool_calls: [delta] })),
    ),
  ];
  const options = request.body.stream_options;
  const asked = typeof options === 'object' && options !== null && 'include_usage' in options;
  // Asked for, the figures come on a chunk of their own without choices; some providers send them unasked.
  const ends =
    asked && usage !== null
      ? [chunk({}, finish), event({ ...base, object: 'chat.completion.chunk', choices: [], usage })]
      : [chunk({}, finish, usage === null ? {} : { usage })];

  return {
    head: chunk({ role: 'assistant', content: '' }),
    pieces: deltas.map((delta) => chunk(delta)),
    tail: finish === null ? '' : [...ends, 'data: [DONE]\n\n'].join(''),
    json: {
      ...base,
      object: 'chat.completion',
      choices: [
        {
          index: 0,
          finish_reason: finish,
          message: {
            role: 'assistant',
            content: text.length > 0 ? text.join('') : null,
            ...(answer.refusal === undefined ? {} : { refusal: answer.refusal }),
            ...(calls.length === 0
              ? {}
              : {
                  tool_calls: calls.map(({ call, id }) => ({
                    ...(call.id === null ? {} : { id }),
                    type: 'function',
                    ...call.vendor,
                    function: { name: call.name, arguments: argumentPieces(call).join('') },
                  })),
                }),
          },
        },
      ],
      ...(usage === null ? {} : { usage }),
    },
  };
}

const ERROR_TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'invalid_request_error',
  429: 'rate_limit_exceeded',
};

export const openAiErrorBody = (status: number, message: string): JsonObject => ({
  error: { message, type: ERROR_TYPES[status] ?? 'server_error', param: null, code: null },
});

export const openAiErrorEvent = (type: string, message: string): string =>
  event({ error: { message, type, param: null, code: null } });

export const OPENAI_BROKEN_EVENT = 'data: {"id":"chatcmpl-scripted","choices":[{"delta":{"content":"tor\n\n';
