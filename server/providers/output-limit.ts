import type { JsonObject } from '../../tenant-schema/store.ts';
import { isObject } from './json.ts';
import { countOf } from './upstream.ts';

/**
 * The longest answer where nobody named a length. Every model there has been can write this many tokens, and it is
 * enough for a page of code.
 */
export const DEFAULT_OUTPUT_TOKENS_MAX = 4096;

/**
 * The length that a request's own parameters hold an answer to; of two, the longer. Null where they name none, or
 * where what they name is none: nobody knows what a provider makes of that.
 * @param names the parameters that the provider obeys
 */
export function ownOutputLimit(parameters: JsonObject, names: readonly string[]): number | null {
  const given = names
    .map((name) => parameters[name])
    .filter((value) => value !== undefined && value !== null);
  const limits = given.filter((value): value is number => Number.isSafeInteger(value) && Number(value) > 0);
  return limits.length === 0 || limits.length < given.length ? null : Math.max(...limits);
}

/** The length to set where the parameters name none. Reasoning counts towards it, so that what they grant it comes on top. */
export function defaultOutputLimit(parameters: JsonObject): number {
  const thinking = isObject(parameters.thinking) ? countOf(parameters.thinking.budget_tokens) : 0;
  const reasoning = isObject(parameters.reasoning) ? countOf(parameters.reasoning.max_tokens) : 0;
  return DEFAULT_OUTPUT_TOKENS_MAX + thinking + reasoning;
}

/** The parameters with the server's limit, unless they have one of their own or there is none. */
export function withOutputLimit(
  parameters: JsonObject,
  names: readonly string[],
  outputTokensMax: number | null,
): JsonObject {
  const [name] = names;
  if (outputTokensMax === null || name === undefined || ownOutputLimit(parameters, names) !== null) {
    return parameters;
  }
  const others = Object.fromEntries(Object.entries(parameters).filter(([key]) => !names.includes(key)));
  return { ...others, [name]: outputTokensMax };
}
