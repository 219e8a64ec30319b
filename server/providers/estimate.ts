/**
 * Rule of thumb of both vendors for English text. Good enough for what was never reported; a real tokenizer
 * can be held up for seconds by a text that a tenant chose.
 */
const BYTES_PER_TOKEN = 4;

/** About how many tokens a text of so many bytes is. */
export const estimateTokens = (bytes: number): number => Math.ceil(bytes / BYTES_PER_TOKEN);
