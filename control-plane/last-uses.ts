/** How long a use stays in memory, where nobody says otherwise, before it is written together with every other. */
export const FLUSH_MS = 60_000;
/** Uses that are written in one transaction. */
const BATCH = 500;

/** When things were last used, noted in memory and written now and then: a write waits for the disk. */
export interface LastUses {
  /** Notes a use, at `at` epoch milliseconds; written some time later, never in the request that made it. */
  note(id: string, at: number): void;
  /** The last use that is not written yet. */
  get(id: string): number | undefined;
  /** Writes what is only in memory. */
  flush(): void;
  /** As `flush`, at the end. */
  close(): void;
}

/**
 * @param write stores a batch in one transaction; what it throws leaves the batch noted. Other processes note uses of
 *   the same things: it must not put an earlier one in the place of a later
 * @param flushMs how long a use stays in memory at most
 */
export function createLastUses(
  write: (batch: [id: string, lastUsedAt: number][]) => void,
  flushMs = FLUSH_MS,
): LastUses {
  const uses = new Map<string, number>();
  let timer: NodeJS.Timeout | null = null;

  function writeFirst(countMax: number): void {
    const batch = [...take(uses, countMax)];
    if (batch.length === 0) return;
    write(batch);
    for (const [id] of batch) uses.delete(id);
  }

  function flushSoon(delayMs: number): void {
    timer = setTimeout(() => {
      timer = null;
      try {
        writeFirst(BATCH);
        if (uses.size > 0) flushSoon(0);
      } catch {
        // A disk that takes no writes, or a lock: the uses stay noted for the next time.
        flushSoon(flushMs);
      }
    }, delayMs);
    timer.unref();
  }

  const flush = () => writeFirst(uses.size);
  return {
    note(id, at) {
      uses.set(id, at);
      if (timer === null) flushSoon(flushMs);
    },
    get: (id) => uses.get(id),
    flush,
    close() {
      if (timer) clearTimeout(timer);
      flush();
    },
  };
}

/** The first entries, at most `countMax`. */
function* take<T>(entries: Iterable<T>, countMax: number): Generator<T> {
  let count = 0;
  for (const entry of entries) {
    if (count >= countMax) return;
    count += 1;
    yield entry;
  }
}
