import { setImmediate as nextTick } from 'node:timers/promises';
import type { JsonObject } from '../../tenant-schema/store.ts';
import { estimateTokens } from './estimate.ts';
import { parseObject } from './json.ts';
import type { Provider, ProviderEvent, ProviderRequest } from './provider.ts';

type Reply = { text: string } | { call: { name: string; arguments: JsonObject } };

const SYSTEM_QUESTION = /^what is your system prompt\s*\??$/i;
const CALL = /^call\s+(\S+)\s*([\s\S]*)$/i;

/** How much of a message is quoted. */
const QUOTE_CHARACTERS_MAX = 200;

/** A few words at a time, or leading blanks; linear in the length of any text. */
const PIECE = /(?:\S+\s*){1,3}|\s+/g;

/**
 * A model that is none: it answers from the request alone, always the same, so that everything can be tried
 * without an account or a network.
 *
 * - `what is your system prompt?` is answered with the rendered system prompt.
 * - `call <tool> <json object>` calls that tool.
 * - Tool results are read back, anything else is quoted with the number of messages so far.
 */
export function createDemo(): Provider {
  return {
    async *stream(request, { signal }): AsyncGenerator<ProviderEvent, void, undefined> {
      signal.throwIfAborted();
      const inputTokens = tokensOf(JSON.stringify([request.system, request.messages, request.tools]));
      const usage = (output: string): ProviderEvent => ({
        type: 'usage',
        usage: {
          inputTokens,
          outputTokens: tokensOf(output),
          cachedInputTokens: 0,
          cacheWriteInputTokens: 0,
          reasoningTokens: 0,
        },
      });

      yield usage('');
      const reply = replyTo(request);
      if ('call' in reply) {
        await nextTick();
        signal.throwIfAborted();
        yield { type: 'tool_call', call: { id: '', ...reply.call } };
        yield usage(JSON.stringify(reply.call));
        yield { type: 'end', finishReason: 'tool_calls', providerData: null };
        return;
      }
      for (const piece of reply.text.match(PIECE) ?? [reply.text]) {
        await nextTick();
        signal.throwIfAborted();
        yield { type: 'text', text: piece };
      }
      yield usage(reply.text);
      yield { type: 'end', finishReason: 'stop', providerData: null };
    },
  };
}

const tokensOf = (text: string): number => estimateTokens(Buffer.byteLength(text));

function replyTo(request: ProviderRequest): Reply {
  const results = trailingResults(request);
  if (results.length > 0) {
    const lines = results.map(
      (result) =>
        `The tool "${result.name}" ${result.isError ? 'failed with' : 'answered'}: ${result.content}`,
    );
    return { text: lines.join('\n') };
  }
  const last = request.messages.at(-1);
  const message = last?.role === 'user' ? last.content.trim() : '';
  if (SYSTEM_QUESTION.test(message)) {
    return { text: request.system === '' ? 'I have no system prompt.' : request.system };
  }
  const [, tool, json = ''] = CALL.exec(message) ?? [];
  if (tool !== undefined) return callOf(request, tool, json);
  const count = request.messages.length;
  return {
    text:
      `You said: "${quoteOf(message)}". This is the demo model; ` +
      `our conversation has ${count} ${count === 1 ? 'message' : 'messages'} so far.`,
  };
}

/** Cut by code points, so that no half of a surrogate pair stays behind. */
function quoteOf(message: string): string {
  if (message.length <= QUOTE_CHARACTERS_MAX) return message;
  const characters = Array.from(message.slice(0, 2 * QUOTE_CHARACTERS_MAX));
  return `${characters.slice(0, QUOTE_CHARACTERS_MAX).join('')}…`;
}

function callOf(request: ProviderRequest, tool: string, json: string): Reply {
  const names = request.tools.map(({ name }) => name);
  const offer = names.length === 0 ? 'I have no tools.' : `I have these tools: ${names.join(', ')}.`;
  if (!names.includes(tool)) return { text: `There is no tool "${tool}". ${offer}` };
  const parsed = json === '' ? {} : parseObject(json);
  if (parsed === undefined) return { text: `What follows "call ${tool}" is not a JSON object. ${offer}` };
  return { call: { name: tool, arguments: parsed } };
}

/** The tool results that the conversation ends with. */
function trailingResults(
  request: ProviderRequest,
): (ProviderRequest['messages'][number] & { role: 'tool' })[] {
  const results = [];
  for (const message of request.messages.toReversed()) {
    if (message.role !== 'tool') break;
    results.unshift(message);
  }
  return results;
}
