import { createHash } from 'node:crypto';

/**
 * Which ids of tool calls a provider takes:
 * - `plain`: up to 40 letters, digits, `_` and `-`, which every provider without rules of its own takes.
 * - `nine`: exactly nine letters and digits.
 * - `dotted`: as `plain`, and ids such as `functions.read:0`, which the model itself reads and must find again.
 */
export type CallIdForm = 'plain' | 'nine' | 'dotted';

const FORMS: Record<CallIdForm, RegExp> = {
  plain: /^[A-Za-z0-9_-]{1,40}$/,
  nine: /^[A-Za-z0-9]{9}$/,
  dotted: /^[A-Za-z0-9_.:-]{1,128}$/,
};

/**
 * An id that the provider takes: the given one where it fits, else one made of its hash, so that a call and its
 * result still belong together and the same history is always sent in the same form.
 */
export function fittingId(id: string, form: CallIdForm): string {
  if (FORMS[form].test(id)) return id;
  const hash = createHash('sha256').update(id).digest('base64url').replace(/[_-]/g, '');
  return form === 'nine' ? hash.slice(0, 9) : `call_${hash.slice(0, 32)}`;
}

/**
 * A tool's name in a form that every provider takes. Models call tools that do not exist, by names that their
 * providers then refuse in a history; what is offered to them fits from the start.
 */
export const fittingName = (name: string): string => name.replace(/[^A-Za-z0-9_-]/gu, '_').slice(0, 64);
