import type { TokenUsage } from '../../tenant-schema/store.ts';
import { countOf } from './upstream.ts';

/**
 * Figures as Chat Completions tells them, in the last chunk of a stream or in a whole answer; any may be missing.
 * Those of the cache are parts of `prompt_tokens`.
 */
export interface OpenAiUsage {
  prompt_tokens?: number | null;
  completion_tokens?: number | null;
  total_tokens?: number | null;
  prompt_tokens_details?: { cached_tokens?: number | null; cache_write_tokens?: number | null } | null;
  /** DeepSeek's name for cached tokens. */
  prompt_cache_hit_tokens?: number | null;
  /** Moonshot's. */
  cached_tokens?: number | null;
  completion_tokens_details?: { reasoning_tokens?: number | null } | null;
}

export function fromOpenAi(usage: OpenAiUsage): TokenUsage {
  const inputTokens = countOf(usage.prompt_tokens);
  const reasoningTokens = countOf(usage.completion_tokens_details?.reasoning_tokens);
  const cached =
    usage.prompt_tokens_details?.cached_tokens ?? usage.prompt_cache_hit_tokens ?? usage.cached_tokens;
  return {
    inputTokens,
    // Google and xAI leave reasoning out of `completion_tokens`, but not out of the total.
    outputTokens: Math.max(
      countOf(usage.completion_tokens),
      countOf(usage.total_tokens) - inputTokens,
      reasoningTokens,
    ),
    cachedInputTokens: countOf(cached),
    cacheWriteInputTokens: countOf(usage.prompt_tokens_details?.cache_write_tokens),
    reasoningTokens,
  };
}

/**
 * Figures as Messages tells them, over the events of a stream or in a whole answer. Those of the cache come beside
 * `input_tokens`, not within.
 */
export interface AnthropicUsage {
  input_tokens?: number | null;
  cache_read_input_tokens?: number | null;
  cache_creation_input_tokens?: number | null;
  output_tokens?: number | null;
  output_tokens_details?: { thinking_tokens?: number | null } | null;
}

/** The figures so far with those of a later event: cumulative, but it may leave out what an earlier one told. */
export const addAnthropic = (usage: AnthropicUsage, later: AnthropicUsage): AnthropicUsage => ({
  ...usage,
  ...Object.fromEntries(Object.entries(later).filter(([, value]) => value !== null)),
});

export function fromAnthropic(usage: AnthropicUsage): TokenUsage {
  const cachedInputTokens = countOf(usage.cache_read_input_tokens);
  const cacheWriteInputTokens = countOf(usage.cache_creation_input_tokens);
  return {
    inputTokens: countOf(usage.input_tokens) + cachedInputTokens + cacheWriteInputTokens,
    outputTokens: countOf(usage.output_tokens),
    cachedInputTokens,
    cacheWriteInputTokens,
    reasoningTokens: countOf(usage.output_tokens_details?.thinking_tokens),
  };
}
