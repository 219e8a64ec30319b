import type { MessageDraft, TokenUsage } from '../../tenant-schema/store.ts';
import { estimateTokens } from '../providers/estimate.ts';
import type { ProviderRequest } from '../providers/provider.ts';

export const NO_USAGE: TokenUsage = {
  inputTokens: 0,
  outputTokens: 0,
  cachedInputTokens: 0,
  cacheWriteInputTokens: 0,
  reasoningTokens: 0,
};

export { estimateTokens };

/** Estimated input tokens of a request, from its bytes. */
export function estimateInputTokens(request: ProviderRequest): number {
  let bytes = Buffer.byteLength(request.system);
  for (const message of request.messages) bytes += messageBytes(message);
  if (request.tools.length > 0) bytes += Buffer.byteLength(JSON.stringify(request.tools));
  return estimateTokens(bytes);
}

function messageBytes(message: MessageDraft): number {
  const text = message.content === null ? 0 : Buffer.byteLength(message.content);
  if (message.role !== 'assistant' || message.toolCalls.length === 0) return text;
  return text + Buffer.byteLength(JSON.stringify(message.toolCalls));
}
