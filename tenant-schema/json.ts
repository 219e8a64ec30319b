import type { JsonObject } from './store.ts';

/** `patch` laid over `base` by key; a null removes its key. */
export function mergeByKey(base: JsonObject, patch: JsonObject): JsonObject {
  const merged = new Map(Object.entries(base));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, value);
  }
  return Object.fromEntries(merged);
}
