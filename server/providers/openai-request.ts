import type { JsonObject, MessageDraft } from '../../tenant-schema/store.ts';
import { type CallIdForm, fittingId, fittingName } from './fitting.ts';
import { isObject } from './json.ts';
import { withOutputLimit } from './output-limit.ts';
import type { ProviderRequest } from './provider.ts';

/** What is kept of an answer for the same provider, by position: the turn may have replaced the calls' ids. */
export interface OpenAiProviderData {
  /** Fields of each tool call that are not part of the format, such as Google's `extra_content`. */
  toolCalls?: JsonObject[];
  reasoning?: string;
}

export interface RequestForm {
  /** The provider's name. */
  name: string;
  /** Ask for token figures with `stream_options`. */
  streamUsageOption: boolean;
  callIdForm: CallIdForm;
  userAfterTool: boolean;
  outputLimits: readonly string[];
}

/** The body of a streamed Chat Completions request. */
export function requestBody(request: ProviderRequest, form: RequestForm): JsonObject {
  return {
    ...withOutputLimit(request.parameters, form.outputLimits, request.outputTokensMax),
    model: request.model,
    messages: wireMessages(request, form),
    ...(request.tools.length === 0 ? {} : { tools: request.tools.map(wireTool) }),
    stream: true,
    ...(form.streamUsageOption ? { stream_options: { include_usage: true } } : {}),
  };
}

function wireMessages({ system, messages }: ProviderRequest, form: RequestForm): JsonObject[] {
  const wire: JsonObject[] = system === '' ? [] : [{ role: 'system', content: system }];
  let before: MessageDraft | undefined;
  for (const message of messages) {
    if (needsWord(before, message, form)) wire.push(ASSISTANTS_WORD);
    const said = wireMessage(message, form);
    if (said !== null) wire.push(said);
    before = message;
  }
  return wire;
}

/** Stands between a cancelled call and the message that came instead of its result. */
const ASSISTANTS_WORD: JsonObject = { role: 'assistant', content: 'Understood.' };

const needsWord = (before: MessageDraft | undefined, message: MessageDraft, form: RequestForm): boolean =>
  !form.userAfterTool && before?.role === 'tool' && message.role === 'user';

const wireTool = (tool: ProviderRequest['tools'][number]): JsonObject => ({
  type: 'function',
  function: {
    name: tool.name,
    ...(tool.description === null ? {} : { description: tool.description }),
    parameters: tool.parameters,
  },
});

/** Null for an assistant's message without anything in it, which providers refuse. */
function wireMessage(message: MessageDraft, form: RequestForm): JsonObject | null {
  if (message.role === 'user') return { role: 'user', content: message.content };
  if (message.role === 'tool') {
    return {
      role: 'tool',
      tool_call_id: fittingId(message.toolCallId, form.callIdForm),
      // The format has no field for `isError`, so that the content has to say it.
      content: message.isError ? asError(message.content) : message.content,
    };
  }
  const content = message.content || null;
  if (message.toolCalls.length === 0) return content === null ? null : { role: 'assistant', content };
  const { vendors, reasoning } = kept(message, form.name);
  return {
    role: 'assistant',
    content,
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    tool_calls: message.toolCalls.map((call, position) => ({
      ...vendors[position],
      id: fittingId(call.id, form.callIdForm),
      type: 'function',
      function: { name: fittingName(call.name), arguments: JSON.stringify(call.arguments) },
    })),
  };
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

/** The content of a failed tool; one that says so itself is left as it is. */
const asError = (content: string): string => (/^\W*error/i.test(content) ? content : `Error: ${content}`);
