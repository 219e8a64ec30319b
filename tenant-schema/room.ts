import { INPUT_BYTES_MAX } from './json.ts';
import type { TurnInput } from './store.ts';

/**
 * How far a tenant's data may grow past its limit: turns that were admitted below it are settled in any case. No less
 * than any one turn brings.
 */
export const HEADROOM_BYTES = INPUT_BYTES_MAX;

/** What an answer is taken to need with its log row; a longer one is stored all the same. */
const ANSWER_BYTES = 64 * 1024;

/** What a turn is expected to add, in bytes. Alone, every turn has room below the limit, however large it is. */
export function expectedBytes(input: TurnInput): number {
  const texts = input.kind === 'message' ? [input.text] : input.results.map(({ content }) => content);
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), ANSWER_BYTES);
  return Math.min(bytes, HEADROOM_BYTES);
}
