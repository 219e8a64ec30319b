import { z } from 'zod';
import { notFound } from '../../tenant-schema/fault.ts';
import { isId } from '../../tenant-schema/ids.ts';
import type { TurnInput } from '../../tenant-schema/store.ts';
import type { ChatAnswer, TurnEvent } from '../agent/agent.ts';
import { BUILT_IN_VARIABLES } from '../agent/template.ts';
import {
  costUsd,
  id,
  metadataInput,
  problem,
  textOf,
  toolCall,
  toUsd,
  usage,
  usageJson,
  userInput,
} from './common.ts';
import { type Endpoint, EventStream, tenantEndpoint } from './endpoint.ts';
import { rateLimitHeaders } from './rate-limit.ts';

// ── template_vars ──────────────────────────────────────────────────────────────────────────────────────

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const VARIABLES_MAX = 100;
const VALUE_CHARS_MAX = 10_000;

const templateVars = z
  .record(
    z.string(),
    z
      .union([textOf(0, VALUE_CHARS_MAX), z.number(), z.boolean()], {
        error: `must be a text of at most ${VALUE_CHARS_MAX} characters, a number or a boolean`,
      })
      .transform(String),
  )
  .superRefine(
    (vars: Record<string, unknown>, context) => {
      const names = Object.keys(vars);
      if (names.length > VARIABLES_MAX) {
        context.addIssue({ code: 'custom', message: `must have at most ${VARIABLES_MAX} entries` });
      }
      for (const name of names.slice(0, VARIABLES_MAX)) {
        if (BUILT_IN_VARIABLES.includes(name)) {
          context.addIssue({
            code: 'custom',
            path: [name],
            message: `"${name}" is a built-in name and cannot be given`,
          });
        } else if (!VARIABLE.test(name)) {
          context.addIssue({
            code: 'custom',
            path: [name.slice(0, 64)],
            message: 'a name must be 1 to 64 letters, digits or "_", and not begin with a digit',
          });
        }
      }
    },
    { when: ({ value }) => typeof value === 'object' && value !== null },
  );

// ── the body ───────────────────────────────────────────────────────────────────────────────────────────

const toolResult = z
  .strictObject({
    // Absent, null and empty are the same; which call is meant is for the conversation to say, with its open calls.
    tool_call_id: z.string().max(200).nullish(),
    name: z.string().max(200).nullish(),
    content: z.unknown().optional(),
    /** Another name for `content`. */
    result: z.unknown().optional(),
    is_error: z.boolean().optional(),
  })
  .superRefine(
    (value: object, context) => {
      if ('content' in value === 'result' in value) {
        context.addIssue({ code: 'custom', message: 'must have exactly one of "content" and "result"' });
      }
    },
    { when: ({ value }) => typeof value === 'object' && value !== null },
  );

const chatInput = z
  .strictObject({
    message: z
      .string()
      .refine((text) => text.trim() !== '', 'must not be empty')
      .optional(),
    tool_results: z.array(toolResult).min(1).max(256).optional(),
    conversation_id: z.string().nullable().optional(),
    cancel_tool_calls: z.boolean().optional(),
    template_vars: templateVars.optional(),
    user: userInput.nullable().optional(),
    metadata: metadataInput.optional(),
    stream: z.boolean().optional(),
  })
  .superRefine(
    (body: object, context) => {
      const has = (name: string) => name in body;
      const fault = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
      if (has('message') === has('tool_results')) {
        fault([], 'must have exactly one of "message" and "tool_results"');
      }
      if (has('tool_results') && (!has('conversation_id') || Reflect.get(body, 'conversation_id') === null)) {
        fault(['conversation_id'], 'Required with "tool_results"');
      }
      if (has('tool_results') && has('cancel_tool_calls')) {
        fault(['cancel_tool_calls'], 'is only for a "message"');
      }
    },
    { when: ({ value }) => typeof value === 'object' && value !== null },
  );

/** A text as it is, anything else as its JSON. */
const contentText = (content: unknown): string =>
  typeof content === 'string' ? content : JSON.stringify(content);

function turnInput(body: z.output<typeof chatInput>): TurnInput {
  if (body.message !== undefined) {
    return { kind: 'message', text: body.message, cancelToolCalls: body.cancel_tool_calls ?? false };
  }
  const results = (body.tool_results ?? []).map((result) => ({
    toolCallId: result.tool_call_id || undefined,
    name: result.name || undefined,
    content: contentText('content' in result ? result.content : result.result),
    isError: result.is_error ?? false,
  }));
  return { kind: 'tool_results', results };
}

// ── the answer ─────────────────────────────────────────────────────────────────────────────────────────

const chatAnswer = z.strictObject({
  /** Null where the model only called tools. */
  response: z.string().nullable(),
  conversation_id: id,
  message_id: id,
  tool_calls: z.array(toolCall),
  finish_reason: z.enum(['stop', 'length', 'tool_calls', 'content_filter']),
  model: z.string(),
  usage,
  cost_usd: costUsd,
});

const answerJson = (answer: ChatAnswer): z.input<typeof chatAnswer> => ({
  response: answer.response,
  conversation_id: answer.conversationId,
  message_id: answer.messageId,
  tool_calls: answer.toolCalls,
  finish_reason: answer.finishReason,
  model: answer.model,
  usage: usageJson(answer.usage, answer.usageEstimated),
  cost_usd: toUsd(answer.costMicroUsd),
});

/** What each event of a streamed answer carries. */
const chatEvents = {
  start: z.strictObject({ conversation_id: id, message_id: id }),
  delta: z.strictObject({ text: z.string() }),
  tool_call: toolCall,
  ping: z.strictObject({}),
  done: chatAnswer,
  error: problem,
};

export const chatSchemas = { ChatInput: chatInput, ChatAnswer: chatAnswer, ToolCall: toolCall };

export const chatEndpoints: Endpoint[] = [
  tenantEndpoint(
    {
      name: 'chat',
      group: 'Chat',
      method: 'POST',
      path: '/api/v1/chat/:config_id',
      scope: 'chat',
      summary: "Take one turn: a message, or the results of the model's tool calls",
      body: chatInput,
      response: chatAnswer,
      events: chatEvents,
      idempotent: true,
      faults: [
        ...(['budget_exceeded', 'rate_limited', 'concurrency_limited', 'pricing_unavailable'] as const),
        ...(['storage_quota_exceeded'] as const),
        ...(['provider_not_allowed', 'conversation_busy', 'tool_results_pending'] as const),
        ...(['history_too_long', 'provider_not_configured', 'upstream_rejected'] as const),
        ...([
          'upstream_unavailable',
          'upstream_invalid',
          'upstream_rate_limited',
          'upstream_timeout',
        ] as const),
      ],
    },
    async ({
      params,
      body,
      identity,
      requestId,
      idempotency,
      clientGone,
      setHeaders,
      services: { agent },
    }) => {
      const conversationId = body.conversation_id ?? null;
      if (conversationId !== null && !isId(conversationId)) throw notFound();
      // Awaited before the stream begins, so that what keeps a turn from beginning has its own status.
      const turn = await agent.begin({
        identity,
        requestId,
        configId: params.config_id,
        conversationId,
        input: turnInput(body),
        templateVars: body.template_vars ?? {},
        user: body.user ?? null,
        metadata: body.metadata ?? null,
        idempotency,
      });
      if (turn.kind === 'replayed') {
        setHeaders({ 'Idempotent-Replayed': 'true' });
        return body.stream ? replay(turn.answer) : answerJson(turn.answer);
      }
      setHeaders(rateLimitHeaders(turn.standing));
      if (!body.stream) return answerJson(await turn.run(clientGone, () => {}));
      return new EventStream(async (send) => {
        const emit = (event: TurnEvent) =>
          event.type === 'text' ? send('delta', { text: event.text }) : send('tool_call', event.call);
        // The turn is set going at once: it is settled by `run`, and only by it.
        const started = send('start', { conversation_id: turn.conversationId, message_id: turn.messageId });
        const answer = turn.run(clientGone, emit);
        await Promise.all([started, answer]);
        await send('done', answerJson(await answer));
      });
    },
  ),
];

/** A finished answer as a stream: all of its text in one piece. */
const replay = (answer: ChatAnswer): EventStream =>
  new EventStream(async (send) => {
    await send('start', { conversation_id: answer.conversationId, message_id: answer.messageId });
    if (answer.response) await send('delta', { text: answer.response });
    for (const call of answer.toolCalls) await send('tool_call', call);
    await send('done', answerJson(answer));
  });
