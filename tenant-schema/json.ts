import { invalid } from './fault.ts';
import type { JsonObject } from './store.ts';

/** JSON of a `metadata` may be so long, merges included. */
export const METADATA_BYTES_MAX = 16 * 1024;

/** Nothing that comes in in one piece may be longer, in bytes: a request's body, or a model's answer. */
export const INPUT_BYTES_MAX = 32 * 1024 * 1024;

/** JSON takes at most so many times the bytes of what it is made of: a control character becomes `\u0001`. */
const JSON_GROWTH = 6;

/** No value that is stored is longer, in bytes. An import takes in no longer one, so that it takes every copy of a file. */
export const VALUE_BYTES_MAX = JSON_GROWTH * INPUT_BYTES_MAX;

/** Deeper JSON than this is refused: it is parsed and written by recursion in many places. */
export const NESTING_MAX = 64;

/** `patch` laid over `base` by key; a null removes its key, undefined leaves it. */
export function mergeByKey(base: object, patch: object): JsonObject {
  const merged = new Map<string, unknown>(Object.entries(base));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else if (value !== undefined) merged.set(key, value);
  }
  // Not assigned key by key: a client may name one `__proto__`.
  return Object.fromEntries(merged);
}

/** As `mergeByKey` for metadata. @throws `validation_failed` where the whole would be too long */
export function mergeMetadata(base: object, patch: object): JsonObject {
  const merged = mergeByKey(base, patch);
  if (Buffer.byteLength(JSON.stringify(merged)) > METADATA_BYTES_MAX) {
    throw invalid([
      { path: 'metadata', message: `must be at most ${METADATA_BYTES_MAX} bytes of JSON after the change` },
    ]);
  }
  return merged;
}

/** Whether objects and arrays lie in each other more than `levelsMax` deep. Does not recurse beyond that. */
export function isNestedDeeper(value: unknown, levelsMax: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levelsMax === 0) return true;
  return Object.values(value).some((item) => isNestedDeeper(item, levelsMax - 1));
}
