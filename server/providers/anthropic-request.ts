import type { JsonObject, MessageDraft, ToolCall } from '../../tenant-schema/store.ts';
import { PROVIDERS } from './catalogue.ts';
import { fittingId, fittingName } from './fitting.ts';
import { isObject } from './json.ts';
import { defaultOutputLimit, withOutputLimit } from './output-limit.ts';
import type { ProviderRequest } from './provider.ts';
import { countOf } from './upstream.ts';

/** Thinking as the API signed it; it must come back word for word, where it stood in the answer. */
export type ThinkingBlock =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'redacted_thinking'; data: string };

/** What is kept of an answer with thinking: all its blocks in order, but not what the message itself holds. */
export interface AnthropicProviderData {
  blocks: KeptBlock[];
}

export type KeptBlock =
  | ThinkingBlock
  /** The next `length` UTF-16 units of the message's text. */
  | { type: 'text'; length: number }
  /** The next of the message's calls, of which the turn may have replaced the id. */
  | { type: 'tool_use' };

/** Stands where the API wants a text and there is none but blanks, which it refuses. */
const NO_TEXT = '(no text)';

interface WireMessage {
  role: 'user' | 'assistant';
  content: JsonObject[];
}

/** The body of a streamed Messages request. */
export function requestBody(request: ProviderRequest, provider: string): JsonObject {
  // Where Chat Completions takes null for "not set", Messages refuses it.
  const given = Object.fromEntries(Object.entries(request.parameters).filter(([, value]) => value !== null));
  const parameters = withOutputLimit(given, PROVIDERS.anthropic.outputLimits, request.outputTokensMax);
  const messages = wireMessages(request.messages, provider);
  return {
    // The API demands it, our clients need not name it.
    max_tokens: defaultOutputLimit(parameters),
    ...parameters,
    model: request.model,
    messages,
    ...(request.system.trim() === '' ? {} : { system: request.system }),
    ...wireTools(request),
    stream: true,
  };
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
      message.role === 'assistant' ? message.toolCalls.map((call) => fittingName(call.name)) : [],
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
  tool_use_id: fittingId(message.toolCallId, 'plain'),
  ...(message.content.trim() === '' ? {} : { content: message.content }),
  ...(message.isError ? { is_error: true } : {}),
});

type AssistantMessage = MessageDraft & { role: 'assistant' };

const toolUse = (call: ToolCall): JsonObject => ({
  type: 'tool_use',
  id: fittingId(call.id, 'plain'),
  name: fittingName(call.name),
  input: call.arguments,
});

function assistantBlocks(message: AssistantMessage, provider: string): JsonObject[] {
  const data = message.providerData?.provider === provider ? message.providerData.data : null;
  const kept = isObject(data) && Array.isArray(data.blocks) ? data.blocks.filter(isObject) : [];
  const inOrder = blocksInOrder(message, kept);
  if (inOrder !== null) return inOrder;

  const said = [...textBlocks(message.content), ...message.toolCalls.map(toolUse)];
  // Earlier versions kept the thinking alone.
  const thinking = isObject(data) && Array.isArray(data.thinking) ? data.thinking.filter(isObject) : [];
  return said.length === 0 ? [] : [...thinking, ...kept.filter(isThinking), ...said];
}

/** The answer as it came; null where what was kept does not belong to the message's text and calls. */
function blocksInOrder(message: AssistantMessage, kept: JsonObject[]): JsonObject[] | null {
  const text = message.content ?? '';
  let told = 0;
  let called = 0;
  const blocks: JsonObject[] = [];
  for (const block of kept) {
    if (isThinking(block)) {
      blocks.push(block);
    } else if (block.type === 'text') {
      const end = told + countOf(block.length);
      blocks.push(...textBlocks(text.slice(told, end)));
      told = end;
    } else if (block.type === 'tool_use') {
      blocks.push(...message.toolCalls.slice(called, called + 1).map(toolUse));
      called += 1;
    }
  }
  if (told !== text.length || called !== message.toolCalls.length) return null;
  // The API refuses thinking that nothing follows.
  return blocks.slice(0, blocks.findLastIndex((block) => !isThinking(block)) + 1);
}

const isThinking = (block: JsonObject): boolean =>
  block.type === 'thinking' || block.type === 'redacted_thinking';
