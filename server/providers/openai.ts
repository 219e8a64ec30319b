import OpenAI from 'openai';
import type { JsonObject, ProviderData } from '../../tenant-schema/store.ts';
import { type Endpoint, failedAnswer, invalidAnswer } from './errors.ts';
import type { ServerEvent } from './event-reader.ts';
import { isObject, parseObject } from './json.ts';
import { type OpenAiProviderData, type RequestForm, requestBody } from './openai-request.ts';
import type { FinishReason, ProviderEvent } from './provider.ts';
import { overTransport } from './sdk-client.ts';
import {
  type Adapter,
  type AdapterOptions,
  type CallDraft,
  chunksOf,
  createHiddenCount,
  type HiddenCount,
  settleFinish,
  wholeCalls,
} from './upstream.ts';
import { fromOpenAi, type OpenAiUsage } from './usage.ts';

export interface OpenAiOptions extends AdapterOptions, RequestForm {
  /** Send `reasoning_content` back with tool calls. */
  returnsReasoning: boolean;
}

/**
 * A chunk as the many servers that speak this format really send it: any field may be missing or null.
 * The SDK's types say what OpenAI itself sends.
 */
interface Chunk {
  choices?: Choice[] | null;
  usage?: OpenAiUsage | null;
}

interface Choice {
  delta?: Delta | null;
  finish_reason?: string | null;
  /** Moonshot tells its figures here. */
  usage?: OpenAiUsage | null;
}

interface Delta {
  content?: string | { type?: string; text?: string }[] | null;
  refusal?: string | null;
  reasoning_content?: string | null;
  /** The name that OpenRouter and Groq have for it. */
  reasoning?: string | null;
  tool_calls?: CallDelta[] | null;
}

interface CallDelta extends JsonObject {
  index?: number | null;
  id?: string | null;
  function?: { name?: string | null; arguments?: string | JsonObject | null } | null;
}

interface Draft extends CallDraft {
  index: number | null;
  vendor: JsonObject;
}

const PATH = '/chat/completions';

/** Speaks Chat Completions, always streamed: the first token is known and an abort has figures. */
export function createOpenAi(options: OpenAiOptions): Adapter {
  const { name } = options;
  const client = overTransport(
    options.transport,
    PATH,
    (fetch) =>
      new OpenAI({
        // The SDK insists on a key; the one that is sent goes with the call.
        apiKey: 'unused',
        baseURL: options.baseUrl,
        // Null, for where nothing is given the SDK looks into the environment.
        organization: null,
        project: null,
        adminAPIKey: null,
        webhookSecret: null,
        maxRetries: options.retries,
        // It would print the text of a chunk that it cannot parse.
        logLevel: 'off',
        fetch,
      }),
  );

  return ({ apiKey, isOwnKey = false }) => ({
    async *stream(request, { signal }): AsyncGenerator<ProviderEvent, void, undefined> {
      const endpoint: Endpoint = { name, apiKey, isOwnKey };
      const body = requestBody(request, options);
      const headers = apiKey === null ? {} : { authorization: `Bearer ${apiKey}` };
      // `post` is what the SDK's typed methods call; here the body may hold what its types do not know.
      const start = (): Promise<Response> =>
        client.post(PATH, { body, headers, stream: true, signal }).asResponse();

      const drafts: Draft[] = [];
      const hidden = createHiddenCount(endpoint);
      let reasoning = '';
      let reason: string | null = null;
      for await (const chunks of chunksOf(start, createChunkOf(), endpoint, signal)) {
        for (const chunk of chunks) {
          const choice = chunk.choices?.[0];
          const text = textOf(choice?.delta);
          if (text !== '') yield { type: 'text', text };
          for (const delta of choice?.delta?.tool_calls ?? []) addCallDelta(drafts, delta, hidden);
          const thoughts = thoughtsOf(choice?.delta);
          if (options.returnsReasoning) {
            hidden.add(...thoughts);
            reasoning += choice?.delta?.reasoning_content ?? '';
          } else hidden.see(...thoughts);
          const bytes = hidden.take();
          if (bytes > 0) yield { type: 'hidden', bytes };
          reason = choice?.finish_reason || reason;
          const usage = chunk.usage ?? choice?.usage;
          if (usage) yield { type: 'usage', usage: fromOpenAi(usage) };
        }
      }
      if (reason === null) throw invalidAnswer(endpoint, 'The stream ended without a finish reason.');

      const cutOrWhole = finishReasonOf(reason, endpoint);
      const calls = wholeCalls(drafts, cutOrWhole, endpoint);
      for (const { call } of calls) yield { type: 'tool_call', call };
      const vendors = calls.map(({ draft }) => draft.vendor);
      yield {
        type: 'end',
        finishReason: settleFinish(cutOrWhole, calls.length),
        providerData: keep(name, vendors, reasoning),
      };
    },
  });
}

/** Reads the chunks of one answer. It throws the SDK's error for one that a provider reports. */
function createChunkOf(): (event: ServerEvent) => Chunk | null {
  let isDone = false;
  return ({ data }) => {
    isDone ||= data.startsWith('[DONE]');
    // What is sent after the last word belongs to nobody.
    if (isDone) return null;
    const chunk: unknown = JSON.parse(data);
    if (!isObject(chunk)) throw new TypeError('A chunk is not a JSON object.');
    if (chunk.error) throw new OpenAI.APIError(undefined, chunk.error, undefined, undefined);
    return chunk;
  };
}

/** What providers say beside OpenAI's own words; what is not here counts as `stop`. */
const FINISH_REASONS = new Map<string, FinishReason | 'failed' | 'invalid'>([
  ['length', 'length'],
  ['max_tokens', 'length'],
  // Mistral: the model's context is full.
  ['model_length', 'length'],
  ['tool_calls', 'tool_calls'],
  ['function_call', 'tool_calls'],
  ['content_filter', 'content_filter'],
  // Gemini's own words, which its Chat Completions let through now and then.
  ['safety', 'content_filter'],
  ['recitation', 'content_filter'],
  ['blocklist', 'content_filter'],
  ['prohibited_content', 'content_filter'],
  ['spii', 'content_filter'],
  ['function_call_filter', 'invalid'],
  ['malformed_function_call', 'invalid'],
  ['unexpected_tool_call', 'invalid'],
  // Mistral and OpenRouter; DeepSeek; servers that run vLLM.
  ['error', 'failed'],
  ['insufficient_system_resource', 'failed'],
  ['abort', 'failed'],
]);

/** @throws `upstream_unavailable` or `upstream_invalid` where the reason is that there is no proper answer. */
function finishReasonOf(reason: string, endpoint: Endpoint): FinishReason {
  // Google adds what was filtered, as in `content_filter: RECITATION`.
  const word = (reason.split(':', 1)[0] ?? '').trim().toLowerCase();
  const meaning = FINISH_REASONS.get(word) ?? 'stop';
  const why = `The stream ended with the finish reason "${reason}".`;
  if (meaning === 'failed') throw failedAnswer(endpoint, why);
  if (meaning === 'invalid') throw invalidAnswer(endpoint, why);
  return meaning;
}

function textOf(delta: Delta | null | undefined): string {
  const content = delta?.content;
  // Mistral's reasoning models send typed parts, of which the thinking is not for the client.
  const text = Array.isArray(content)
    ? content.map((part) => (part.type === 'text' ? (part.text ?? '') : '')).join('')
    : (content ?? '');
  return text + (delta?.refusal ?? '');
}

/** What the model says to itself, under whatever name its provider gives it. */
function thoughtsOf(delta: Delta | null | undefined): string[] {
  const { content, reasoning_content: one, reasoning: other } = delta ?? {};
  const parts = Array.isArray(content) ? content.filter(({ type }) => type !== 'text') : [];
  return [one ?? other, ...parts.map((part) => JSON.stringify(part))].filter(
    (piece) => typeof piece === 'string',
  );
}

/**
 * Adds a piece to the call that it belongs to. OpenAI numbers its calls; others leave the number out, or give
 * several whole calls the same one.
 */
function addCallDelta(drafts: Draft[], delta: CallDelta, hidden: HiddenCount): void {
  const { index = null, id, type: _type, function: called, ...vendor } = delta;
  const name = called?.name ?? '';
  const piece = isObject(called?.arguments) ? JSON.stringify(called.arguments) : (called?.arguments ?? '');
  hidden.add(id ?? '', name, piece, JSON.stringify(vendor));

  let draft = draftFor(drafts, index, id ?? '', name);
  if (draft === undefined) {
    draft = { index, id: '', name: '', json: '', vendor: {} };
    drafts.push(draft);
  }
  draft.id ||= id ?? '';
  draft.name ||= name;
  draft.json += piece;
  Object.assign(draft.vendor, vendor);
}

function draftFor(drafts: Draft[], index: number | null, id: string, name: string): Draft | undefined {
  const found =
    index !== null
      ? drafts.findLast((draft) => draft.index === index)
      : id !== ''
        ? drafts.findLast((draft) => draft.id === id)
        : name === ''
          ? drafts.at(-1)
          : undefined;
  if (found === undefined || name === '' || found.name === '') return found;
  // A second name for the same number begins another call if the id is another one or the first call is whole.
  const another = id !== '' && found.id !== '' ? id !== found.id : parseObject(found.json) !== undefined;
  return another ? undefined : found;
}

function keep(provider: string, vendors: JsonObject[], reasoning: string): ProviderData | null {
  const data: OpenAiProviderData = {};
  if (vendors.some((vendor) => Object.keys(vendor).length > 0)) data.toolCalls = vendors;
  if (reasoning !== '' && vendors.length > 0) data.reasoning = reasoning;
  return Object.keys(data).length === 0 ? null : { provider, data };
}
