/**
 * Runs `work` on each item, at most `parallel` at a time, until all are done or the signal is aborted; what is
 * under way then is waited for. Stops at the first error and throws it.
 */
export async function forEachBounded<T>(
  items: readonly T[],
  parallel: number,
  signal: AbortSignal,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]();
  let failed = false;
  const lane = async (): Promise<void> => {
    for (let next = queue.next(); !next.done; next = queue.next()) {
      if (failed || signal.aborted) return;
      try {
        await work(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.max(parallel, 1) }, lane));
  for (const result of lanes) if (result.status === 'rejected') throw result.reason;
}

/** Pieces of at most `size`, so that a message about ten thousand tenants does not stop the loop. */
export function* inBatches<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
