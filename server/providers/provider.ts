import type {
  JsonObject,
  MessageDraft,
  ProviderData,
  TokenUsage,
  ToolCall,
} from '../../tenant-schema/store.ts';

/** A tool as the model is told of it; `parameters` is a JSON Schema. */
export interface ToolDefinition {
  name: string;
  description: string | null;
  parameters: JsonObject;
}

/** One question to a model, in nobody's wire format. */
export interface ProviderRequest {
  model: string;
  /** The rendered system prompt; empty means none. */
  system: string;
  /**
   * In order: `user`, `assistant`, and after an assistant's tool calls one `tool` message for each of them.
   * Ends with a `user` or a `tool` message. Two `user` messages may follow each other.
   */
  messages: MessageDraft[];
  tools: ToolDefinition[];
  /** The rest of `model_config`, sent on unchanged but for what `outputTokensMax` says. */
  parameters: JsonObject;
  /**
   * The longest answer that the server allows, where the parameters name no length of their own; sent under the
   * provider's name for it. Null sends the parameters as they are.
   */
  outputTokensMax: number | null;
}

export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter';

/**
 * What a model's answer is made of. Any number of `text`, `hidden`, `tool_call` and `usage` (a later one
 * replaces an earlier one), then exactly one `end`; or the iterator throws.
 */
export type ProviderEvent =
  | { type: 'text'; text: string }
  /**
   * So many bytes came in that are told later or to nobody: arguments of calls and reasoning. They are paid for, also
   * where the answer is cut before its figures come.
   */
  | { type: 'hidden'; bytes: number }
  /** A whole call. `id` may be empty or repeated: the turn sees to it. */
  | { type: 'tool_call'; call: ToolCall }
  | { type: 'usage'; usage: TokenUsage }
  | { type: 'end'; finishReason: FinishReason; providerData: ProviderData | null };

export interface ProviderCall {
  /** Ends the upstream call at once when aborted. */
  signal: AbortSignal;
}

/**
 * Speaks one wire format.
 * @throws `upstream_rejected`, `upstream_unavailable`, `upstream_invalid`, `upstream_rate_limited` or
 *   `upstream_timeout`: the public message names the provider and its status, never its words, a key or a
 *   header; `cause` carries its words, with the key cut out.
 */
export interface Provider {
  stream(request: ProviderRequest, call: ProviderCall): AsyncIterable<ProviderEvent>;
}
