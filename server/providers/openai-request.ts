import type { JsonObject, MessageDraft } from '../../tenant-schema/store.ts';
import type { ProviderRequest } from './provider.ts';
import { isObject } from './upstream.ts';

/** What is kept of an answer for the same provider, by position: the turn may have replaced the calls' ids. */
export interface OpenAiProviderData {
  /** Fields of each tool call that are not part of the format, such as Google's `extra_content`. */
  toolCalls?: JsonObject[];
  reasoning?: string;
}

/** The body of a streamed Chat Completions request. */
export function requestBody(
  request: ProviderRequest,
  options: { name: string; streamUsageOption: boolean },
): JsonObject {
  return {
    ...request.parameters,
    model: request.model,
    messages: [
      ...(request.system === '' ? [] : [{ role: 'system', content: request.system }]),
      ...request.messages.flatMap((message) => wireMessage(message, options.name)),
    ],
    ...(request.tools.length === 0 ? {} : { tools: request.tools.map(wireTool) }),
    stream: true,
    ...(options.streamUsageOption ? { stream_options: { include_usage: true } } : {}),
  };
}

const wireTool = (tool: ProviderRequest['tools'][number]): JsonObject => ({
  type: 'function',
  function: {
    name: tool.name,
    ...(tool.description === null ? {} : { description: tool.description }),
    parameters: tool.parameters,
  },
});

/** One message; none for an assistant's message without anything in it, which providers refuse. */
function wireMessage(message: MessageDraft, provider: string): JsonObject[] {
  if (message.role === 'user') return [{ role: 'user', content: message.content }];
  if (message.role === 'tool') {
    return [{ role: 'tool', tool_call_id: message.toolCallId, content: message.content }];
  }
  const content = message.content || null;
  if (message.toolCalls.length === 0) return content === null ? [] : [{ role: 'assistant', content }];
  const { vendors, reasoning } = kept(message, provider);
  return [
    {
      role: 'assistant',
      content,
      ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
      tool_calls: message.toolCalls.map((call, position) => ({
        ...vendors[position],
        id: call.id,
        type: 'function',
        function: { name: call.name, arguments: JSON.stringify(call.arguments) },
      })),
    },
  ];
}

function kept(
  message: MessageDraft & { role: 'assistant' },
  provider: string,
): { vendors: (JsonObject | undefined)[]; reasoning: string | undefined } {
  const data = message.providerData?.provider === provider ? message.providerData.data : null;
  if (!isObject(data)) return { vendors: [], reasoning: undefined };
  return {
    vendors: Array.isArray(data.toolCalls)
      ? data.toolCalls.map((vendor: unknown) => (isObject(vendor) ? vendor : undefined))
      : [],
    reasoning: typeof data.reasoning === 'string' ? data.reasoning : undefined,
  };
}
