import type { Config, ModelConfig, TurnSize } from '../../tenant-schema/store.ts';
import { isProviderName, PROVIDERS } from '../providers/catalogue.ts';
import { estimateTokens } from '../providers/estimate.ts';
import { defaultOutputLimit, ownOutputLimit } from '../providers/output-limit.ts';
import type { ModelPrice } from './pricing.ts';

/** How large a request to a model is. */
export interface InputSize {
  /** UTF-8 bytes of the system prompt and of all messages. */
  textBytes: number;
  /** UTF-8 bytes of the tools' definitions and of the parameters, among which may be a schema for the answer. */
  schemaBytes: number;
  messages: number;
  tools: number;
  /** What the provider puts before the request at most. */
  preambleTokens: number;
}

/** What the markers around a message, and the name and id of a call that it answers, come to at most. */
const MESSAGE_TOKENS_MAX = 128;
/** The same around a tool; one that is only named is described by the server. */
const TOOL_TOKENS_MAX = 128;
/** What providers put before a request of their own: who the model is, or what day. */
const PREAMBLE_TOKENS_MAX = 256;
/** Grok is told some 700 tokens before each request, whoever passes it on. */
const GROK_PREAMBLE_TOKENS_MAX = 1024;
const GROK_PROVIDERS = ['xai', 'openrouter'];
/** How tools are called, some hundred tokens. */
const TOOLS_PREAMBLE_TOKENS_MAX = 1792;
/** Schemas may be written out again, with blanks between and other letters escaped. */
const SCHEMA_TOKENS_PER_BYTE_MAX = 2;

/** @param system the rendered system prompt */
export const inputSizeOf = (config: Config, system: string, size: TurnSize): InputSize => ({
  textBytes: Buffer.byteLength(system) + size.historyBytes + size.inputBytes,
  schemaBytes:
    jsonBytes(config.modelConfig) + (config.toolsConfig.length > 0 ? jsonBytes(config.toolsConfig) : 0),
  messages: 1 + size.historyMessages + size.inputMessages,
  tools: config.toolsConfig.length,
  preambleTokens:
    (GROK_PROVIDERS.includes(config.modelConfig.provider) ? GROK_PREAMBLE_TOKENS_MAX : PREAMBLE_TOKENS_MAX) +
    (config.toolsConfig.length > 0 ? TOOLS_PREAMBLE_TOKENS_MAX : 0),
});

const jsonBytes = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

/**
 * No request of this size has more input tokens: tokenizers work on bytes of UTF-8, so that every token of a text
 * stands for a byte of it at least.
 */
export const inputTokensMax = (size: InputSize): number =>
  size.preambleTokens +
  size.textBytes +
  size.schemaBytes * SCHEMA_TOKENS_PER_BYTE_MAX +
  size.messages * MESSAGE_TOKENS_MAX +
  size.tools * TOOL_TOKENS_MAX;

/** About how many input tokens a request of this size has. */
export const inputTokensEstimate = (size: InputSize): number =>
  estimateTokens(size.textBytes + size.schemaBytes);

export interface OutputBound {
  /** An answer has at most so many tokens, reasoning included. */
  tokens: number;
  /** False where only the server's own limit makes it so: `tokens` is to be sent as `outputTokensMax` then. */
  isOwn: boolean;
}

/** How long an answer may become by its config, or by the server's default where that says nothing. */
export function outputTokensMaxOf(
  modelConfig: ModelConfig,
  price: Pick<ModelPrice, 'outputTokensMax'> | null,
): OutputBound {
  const { provider } = modelConfig;
  const names = isProviderName(provider) ? PROVIDERS[provider].outputLimits : [];
  const own = ownOutputLimit(modelConfig, names);
  const modelMax = price?.outputTokensMax ?? Number.POSITIVE_INFINITY;
  return { tokens: Math.min(own ?? defaultOutputLimit(modelConfig), modelMax), isOwn: own !== null };
}
