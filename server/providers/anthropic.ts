import Anthropic from '@anthropic-ai/sdk';
import type { JsonObject, ProviderData } from '../../tenant-schema/store.ts';
import {
  type AnthropicProviderData,
  type KeptBlock,
  requestBody,
  type ThinkingBlock,
} from './anthropic-request.ts';
import { type Endpoint, invalidAnswer } from './errors.ts';
import type { ServerEvent } from './event-reader.ts';
import { isObject, parseJson } from './json.ts';
import type { FinishReason, ProviderEvent } from './provider.ts';
import { overTransport } from './sdk-client.ts';
import {
  type Adapter,
  type AdapterOptions,
  type CallDraft,
  chunksOf,
  createHiddenCount,
  type HiddenCount,
  isCut,
  settleFinish,
  wholeCalls,
} from './upstream.ts';
import { type AnthropicUsage, addAnthropic, fromAnthropic } from './usage.ts';

/** An event of the stream, as far as it matters here; servers that imitate this format may leave things out. */
interface StreamEvent {
  type?: string;
  index?: number;
  message?: { usage?: AnthropicUsage | null };
  usage?: AnthropicUsage | null;
  content_block?: { type?: string; id?: string; name?: string; input?: unknown; text?: string } & JsonObject;
  delta?: {
    type?: string;
    text?: string;
    partial_json?: string;
    thinking?: string;
    signature?: string;
    stop_reason?: string | null;
  };
}

type Block =
  | { call: CallDraft & { wholeInput: unknown } }
  | { thinking: ThinkingBlock }
  /** The text itself has gone to the client. */
  | { textLength: number };

const PATH = '/v1/messages';

/** Speaks Messages, always streamed. */
export function createAnthropic(options: AdapterOptions): Adapter {
  const { name } = options;
  const client = overTransport(
    options.transport,
    PATH,
    (fetch) =>
      new Anthropic({
        // The SDK insists on a key; the one that is sent goes with the call.
        apiKey: 'unused',
        // Null and false, for where nothing is given the SDK looks into the environment and its own files.
        authToken: null,
        webhookKey: null,
        openTelemetry: false,
        baseURL: options.baseUrl,
        maxRetries: options.retries,
        // It would print the text of an event that it cannot parse.
        logLevel: 'off',
        fetch,
      }),
  );

  return ({ apiKey, isOwnKey = false }) => ({
    async *stream(request, { signal }): AsyncGenerator<ProviderEvent, void, undefined> {
      const endpoint: Endpoint = { name, apiKey, isOwnKey };
      const body = requestBody(request, name);
      const headers = apiKey === null ? {} : { 'x-api-key': apiKey };
      // `post` is what `messages.create` calls, but that one prints warnings about old models.
      const start = (): Promise<Response> =>
        client.post(PATH, { body, headers, stream: true, signal }).asResponse();

      const hidden = createHiddenCount(endpoint);
      const blocks = new Map<number, Block>();
      let usage: AnthropicUsage = {};
      let stopReason: string | null = null;
      for await (const events of chunksOf(start, eventOf, endpoint, signal)) {
        for (const event of events) {
          const text = addToBlocks(blocks, event, hidden);
          if (text !== '') yield { type: 'text', text };
          const bytes = hidden.take();
          if (bytes > 0) yield { type: 'hidden', bytes };
          stopReason = event.delta?.stop_reason || stopReason;
          const figures = event.message?.usage ?? event.usage;
          if (figures) {
            usage = addAnthropic(usage, figures);
            yield { type: 'usage', usage: fromAnthropic(usage) };
          }
        }
      }
      if (stopReason === null) throw invalidAnswer(endpoint, 'The stream ended without a stop reason.');

      const cutOrWhole = FINISH_REASONS.get(stopReason) ?? 'stop';
      const drafts = [...blocks.values()].flatMap((block) =>
        'call' in block ? [settleInput(block.call)] : [],
      );
      const calls = wholeCalls(drafts, cutOrWhole, endpoint);
      for (const { call } of calls) yield { type: 'tool_call', call };
      yield {
        type: 'end',
        finishReason: settleFinish(cutOrWhole, calls.length),
        providerData: isCut(cutOrWhole) ? null : keep(name, [...blocks.values()]),
      };
    },
  });
}

/** @throws the SDK's error for one that a provider reports */
function eventOf({ name, data }: ServerEvent): StreamEvent | null {
  if (name === null || name === 'ping' || data === '') return null;
  if (name === 'error') {
    const body = parseJson(data);
    throw new Anthropic.APIError(undefined, isObject(body) ? body : { message: data }, undefined, undefined);
  }
  const event: unknown = JSON.parse(data);
  if (!isObject(event)) throw new TypeError('An event is not a JSON object.');
  return event;
}

const FINISH_REASONS = new Map<string, FinishReason>([
  ['max_tokens', 'length'],
  ['model_context_window_exceeded', 'length'],
  ['tool_use', 'tool_calls'],
  ['refusal', 'content_filter'],
]);

/** Takes in what belongs to a block, and gives back the text for the client. */
function addToBlocks(blocks: Map<number, Block>, event: StreamEvent, hidden: HiddenCount): string {
  if (event.type === 'content_block_start' && event.content_block !== undefined) {
    const { content_block: begun, index = blocks.size } = event;
    if (begun.type === 'tool_use') {
      const { id = '', name = '', input = {} } = begun;
      hidden.add(id, name, JSON.stringify(input));
      blocks.set(index, { call: { id, name, json: '', wholeInput: input } });
    } else if (begun.type === 'thinking') {
      blocks.set(index, { thinking: { type: 'thinking', thinking: '', signature: '' } });
    } else if (begun.type === 'redacted_thinking') {
      const data = String(begun.data ?? '');
      hidden.add(data);
      blocks.set(index, { thinking: { type: 'redacted_thinking', data } });
    } else if (begun.type === 'text') {
      const text = begun.text ?? '';
      blocks.set(index, { textLength: text.length });
      return text;
    }
    return '';
  }
  if (event.type !== 'content_block_delta' || !event.delta) return '';
  const { delta, index = blocks.size - 1 } = event;
  const block = blocks.get(index);
  if (block !== undefined && 'call' in block) {
    const piece = delta.partial_json ?? '';
    hidden.add(piece);
    block.call.json += piece;
  } else if (block !== undefined && 'thinking' in block) {
    const { thinking = '', signature = '' } = delta;
    if (block.thinking.type !== 'thinking') return '';
    hidden.add(thinking, signature);
    block.thinking.thinking += thinking;
    block.thinking.signature += signature;
  } else if (delta.type === 'text_delta') {
    const text = delta.text ?? '';
    blocks.set(index, { textLength: (block?.textLength ?? 0) + text.length });
    return text;
  }
  return '';
}

/** The order of an answer with thinking; others can be put together from the message alone. */
function keep(provider: string, blocks: Block[]): ProviderData | null {
  if (!blocks.some((block) => 'thinking' in block)) return null;
  const data: AnthropicProviderData = { blocks: blocks.map(keptBlock) };
  return { provider, data };
}

function keptBlock(block: Block): KeptBlock {
  if ('thinking' in block) return block.thinking;
  return 'call' in block ? { type: 'tool_use' } : { type: 'text', length: block.textLength };
}

/** The input comes in pieces after an empty object; some imitations send it whole at the beginning instead. */
function settleInput(call: CallDraft & { wholeInput: unknown }): CallDraft {
  const whole = call.json === '' && isObject(call.wholeInput) && Object.keys(call.wholeInput).length > 0;
  return whole ? { ...call, json: JSON.stringify(call.wholeInput) } : call;
}
