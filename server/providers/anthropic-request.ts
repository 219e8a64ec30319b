import { createHash } from 'node:crypto';
import type { JsonObject, MessageDraft } from '../../tenant-schema/store.ts';
import type { ProviderRequest } from './provider.ts';
import { countOf, isObject } from './upstream.ts';

/** Thinking as the API signed it; it must come back word for word, before the calls that it led to. */
export type ThinkingBlock =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'redacted_thinking'; data: string };

/**
 * The API demands `max_tokens`, our clients need not name it. Every model the API has had can write this many,
 * and it is enough for a page of code.
 */
const MAX_TOKENS_DEFAULT = 4096;

/** Stands where the API wants a text and there is none but blanks, which it refuses. */
const NO_TEXT = '(no text)';

interface WireMessage {
  role: 'user' | 'assistant';
  content: JsonObject[];
}

/** The body of a streamed Messages request. */
export function requestBody(request: ProviderRequest, provider: string): JsonObject {
  const { parameters } = request;
  const messages = wireMessages(request.messages, provider);
  return {
    max_tokens: maxTokensDefault(parameters),
    ...parameters,
    model: request.model,
    messages,
    ...(request.system.trim() === '' ? {} : { system: request.system }),
    ...wireTools(request),
    stream: true,
  };
}

/** Thinking counts towards `max_tokens`, which must be larger than its budget. */
function maxTokensDefault(parameters: JsonObject): number {
  const thinking = isObject(parameters.thinking) ? parameters.thinking : {};
  return MAX_TOKENS_DEFAULT + countOf(thinking.budget_tokens);
}

function wireTools(request: ProviderRequest): JsonObject {
  if (request.tools.length > 0) {
    return {
      tools: request.tools.map((tool) => ({
        name: tool.name,
        ...(tool.description === null ? {} : { description: tool.description }),
        input_schema: tool.parameters,
      })),
    };
  }
  // A history with tool calls is refused where no tools are given; these may be seen, not called.
  const names = new Set(
    request.messages.flatMap((message) =>
      message.role === 'assistant' ? message.toolCalls.map((call) => call.name) : [],
    ),
  );
  if (names.size === 0) return {};
  return {
    tools: [...names].map((name) => ({ name, input_schema: { type: 'object' } })),
    tool_choice: { type: 'none' },
  };
}

/** Alternating messages, a user's first: what follows on the same side is joined, blank texts are left out. */
function wireMessages(messages: MessageDraft[], provider: string): WireMessage[] {
  const joined: WireMessage[] = [];
  const add = (role: WireMessage['role'], content: JsonObject[]): void => {
    const last = joined.at(-1);
    if (content.length === 0) return;
    if (last?.role === role) last.content.push(...content);
    else joined.push({ role, content });
  };
  for (const message of messages) {
    if (message.role === 'user') add('user', textBlocks(message.content));
    else if (message.role === 'tool') add('user', [toolResult(message)]);
    else add('assistant', assistantBlocks(message, provider));
  }
  if (joined[0]?.role !== 'user') joined.unshift({ role: 'user', content: textBlocks(NO_TEXT) });
  if (joined.at(-1)?.role !== 'user') joined.push({ role: 'user', content: textBlocks(NO_TEXT) });
  return joined;
}

const textBlocks = (text: string | null): JsonObject[] =>
  text === null || text.trim() === '' ? [] : [{ type: 'text', text }];

const toolResult = (message: MessageDraft & { role: 'tool' }): JsonObject => ({
  type: 'tool_result',
  tool_use_id: fittingId(message.toolCallId),
  ...(message.content.trim() === '' ? {} : { content: message.content }),
  ...(message.isError ? { is_error: true } : {}),
});

function assistantBlocks(message: MessageDraft & { role: 'assistant' }, provider: string): JsonObject[] {
  const said: JsonObject[] = [
    ...textBlocks(message.content),
    ...message.toolCalls.map((call) => ({
      type: 'tool_use',
      id: fittingId(call.id),
      name: call.name,
      input: call.arguments,
    })),
  ];
  return said.length === 0 ? [] : [...keptThinking(message, provider), ...said];
}

function keptThinking(message: MessageDraft & { role: 'assistant' }, provider: string): JsonObject[] {
  const data = message.providerData?.provider === provider ? message.providerData.data : null;
  return isObject(data) && Array.isArray(data.thinking) ? data.thinking.filter(isObject) : [];
}

/** Ids of other providers may hold what this one refuses; the same id always becomes the same one. */
const fittingId = (id: string): string =>
  /^[a-zA-Z0-9_-]+$/.test(id) ? id : `toolu_${createHash('sha256').update(id).digest('hex').slice(0, 32)}`;
