import type { MessageDraft, TurnContent } from '../../tenant-schema/store.ts';
import type { Answer } from './answer.ts';
import { redactSecrets } from './redact.ts';

/** So much of either side is kept with a log row; the conversation has all of it. */
const CONTENT_CHARS_MAX = 64 * 1024;
const SECRET_CHARS_MAX = 4096;

/** What was said in a turn, for its log row. */
export function contentOf(
  input: readonly MessageDraft[],
  answer: Pick<Answer, 'partialText' | 'toolCalls'>,
  options: { redact: boolean },
): TurnContent {
  const kept = (text: string): string => {
    // A secret that the cut would divide is still seen whole.
    const head = text.slice(0, CONTENT_CHARS_MAX + SECRET_CHARS_MAX);
    const clean = options.redact ? redactSecrets(head) : head;
    // The end of a head that was cut may be a part of one, however short the rest has become.
    const wholeChars =
      head.length < text.length ? Math.max(0, clean.length - SECRET_CHARS_MAX) : clean.length;
    const charsMax = Math.min(CONTENT_CHARS_MAX, wholeChars);
    return (clean.length > charsMax ? `${clean.slice(0, charsMax)}…` : clean).toWellFormed();
  };
  const calls = answer.toolCalls.map((call) =>
    JSON.stringify({ name: call.name, arguments: call.arguments }),
  );
  return {
    input: kept(input.map(({ content }) => content ?? '').join('\n')),
    output: kept([answer.partialText, ...calls].filter((part) => part !== '').join('\n')),
  };
}
