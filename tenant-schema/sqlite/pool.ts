import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import { Fault } from '../fault.ts';

/** What the pool needs of an open file. */
export interface Pooled {
  /** Closes the file at once. Must not throw. */
  close(): void;
  /** The same for a file whose end nobody waits for, beside the event loop. Must not reject. */
  closeAside?: (() => Promise<void>) | undefined;
}

export interface PoolOptions<H extends Pooled> {
  /** Opens a tenant's file; synchronous, and so single-flight by nature. */
  open(id: string): H;
  /** At most this many files are open at any moment. */
  openMax: number;
  /** A file unused for this long is closed by the next `closeIdle`. */
  idleMs: number;
  clock: Clock;
}

interface Lease<H> {
  handle: H;
  holders: number;
  /** Since when the file is idle but for `useIfOpen`, on the monotonic clock; null where it is in use. */
  idleSince: number | null;
  /**
   * Set where the file turned out to be damaged, say: given to nobody any more, and closed instead of kept when the last
   * holder is done.
   */
  toBeClosed: boolean;
}

/**
 * Open files by tenant. The LRU holds only the idle ones: a leased file cannot be evicted or closed. Where all
 * places are leased, or being made free, further tenants wait in order.
 */
export class Pool<H extends Pooled> {
  readonly #options: PoolOptions<H>;
  readonly #leased = new Map<string, Lease<H>>();
  readonly #idle: LRUCache<string, H>;
  /** Files on their way out; they still count as open, and nobody opens them anew before they are closed. */
  readonly #closing = new Map<string, Promise<void>>();
  /** Tenants whose file is being replaced or removed; others wait for the promise. */
  readonly #exclusive = new Map<string, Promise<void>>();
  /** Tenants whose file is being read by another process of ours, by how many. */
  readonly #shared = new Map<string, number>();
  /** Woken, in order, whenever a file is given back, closed or free for others. */
  #waiting: (() => void)[] = [];
  /** Tenants that wait for a place. */
  readonly #roomWanted = new Set<string>();
  #closed = false;
  #hits = 0;
  #misses = 0;
  #evictions = 0;

  constructor(options: PoolOptions<H>) {
    this.#options = options;
    this.#idle = new LRUCache({
      max: options.openMax,
      ttl: Math.max(options.idleMs, 1),
      // A look at the clock per lease costs less than the timer by which the cache would avoid it.
      ttlResolution: 0,
      allowStale: true,
      noDeleteOnStaleGet: true,
      perf: { now: () => options.clock.monotonic() },
      // `delete` is a file on its way from idle to leased; `evict` and `expire` are on their way out.
      dispose: (handle, id, reason) => {
        if (reason !== 'delete') this.#retire(id, handle);
      },
    });
  }

  /**
   * Runs `work` on the tenant's open file, opening it first where needed.
   * @throws what `open` or `work` throws.
   */
  async use<T>(
    id: string,
    work: (handle: H) => T | Promise<T>,
    isDamage: (error: unknown) => boolean,
  ): Promise<T> {
    return this.#run(id, await this.#take(id), work, isDamage);
  }

  async #run<T>(
    id: string,
    lease: Lease<H>,
    work: (handle: H) => T | Promise<T>,
    isDamage: (error: unknown) => boolean,
  ): Promise<T> {
    try {
      const result = work(lease.handle);
      return result instanceof Promise ? await result : result;
    } catch (error) {
      lease.toBeClosed ||= isDamage(error);
      throw error;
    } finally {
      this.#giveBack(id, lease);
    }
  }

  /**
   * As `use`, for upkeep: only where the file is open already, and it is closed no later for it.
   * @returns null, with nothing done, where it is not open
   */
  async useIfOpen<T>(
    id: string,
    work: (handle: H) => T | Promise<T>,
    isDamage: (error: unknown) => boolean,
  ): Promise<T | null> {
    if (this.#closed || this.#exclusive.has(id)) return null;
    const held = this.#leased.get(id);
    if (held?.toBeClosed) return null;
    if (held) {
      held.holders += 1;
      return this.#run(id, held, work, isDamage);
    }
    const idleMs = this.#idle.ttl - this.#idle.getRemainingTTL(id);
    const idle = this.#takeIdle(id);
    if (!idle) return null;
    const lease = this.#lease(id, idle);
    lease.idleSince = this.#options.clock.monotonic() - idleMs;
    return this.#run(id, lease, work, isDamage);
  }

  /**
   * Runs `work`, which reads the tenant's file by other means than the pool, open or not: the file may be used and
   * closed meanwhile, but not replaced or removed.
   */
  async shared<T>(id: string, work: () => Promise<T>): Promise<T> {
    for (let blocker = this.#blocker(id); blocker; blocker = this.#blocker(id)) await blocker;
    this.#shared.set(id, (this.#shared.get(id) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#shared.get(id) ?? 1) - 1;
      if (left > 0) this.#shared.set(id, left);
      else this.#shared.delete(id);
      this.#wake();
    }
  }

  /** Waits for the tenant's holders, closes its file, and lets nobody open it while `work` runs. */
  async exclusive<T>(id: string, work: () => Promise<T>): Promise<T> {
    for (let blocker = this.#blocker(id); blocker; blocker = this.#blocker(id)) await blocker;
    return this.#alone(id, work);
  }

  /**
   * As `exclusive`, but not while the file is read by other means, which may take long, and whoever wants to use the
   * file would have to wait along: it is only closed here then, as soon as its holders are done, and null is given.
   */
  async exclusiveUnlessShared<T>(id: string, work: () => Promise<T>): Promise<T | null> {
    for (let blocker = this.#blocker(id); blocker; blocker = this.#blocker(id)) await blocker;
    if (!this.#shared.has(id)) return this.#alone(id, work);
    const lease = this.#leased.get(id);
    if (lease) lease.toBeClosed = true;
    else this.#takeIdle(id)?.close();
    return null;
  }

  /** To be begun with nobody in the way, and without a pause after that was found out. */
  async #alone<T>(id: string, work: () => Promise<T>): Promise<T> {
    let open = (): void => {};
    this.#exclusive.set(id, new Promise((resolve) => (open = resolve)));
    try {
      while (this.#leased.has(id) || this.#shared.has(id)) await this.#nextReturn();
      this.#takeIdle(id)?.close();
      await this.#closing.get(id);
      return await work();
    } finally {
      this.#exclusive.delete(id);
      open();
      this.#wake();
    }
  }

  /** Closes the files that nobody has used for `idleMs`. */
  closeIdle(): void {
    this.#idle.purgeStale();
  }

  /** Closes every file that is not in use, and the others as soon as they are not. */
  closeSoon(): void {
    for (const lease of this.#leased.values()) lease.toBeClosed = true;
    while (this.#idle.size > 0) this.#idle.pop();
  }

  stats() {
    return {
      open: this.#openCount,
      leased: this.#leased.size,
      openMax: this.#options.openMax,
      hits: this.#hits,
      misses: this.#misses,
      evictions: this.#evictions,
    };
  }

  /** Refuses new work, waits for what is under way, and closes everything. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    while (this.#leased.size + this.#shared.size + this.#exclusive.size > 0) await this.#nextReturn();
    while (this.#idle.size > 0) this.#idle.pop();
    await Promise.all(this.#closing.values());
  }

  /** Whom new work on the tenant has to wait for, if anybody. */
  #blocker(id: string): Promise<void> | undefined {
    if (this.#closed) throw new Fault('overloaded', 'The server is shutting down.');
    return this.#exclusive.get(id) ?? this.#closing.get(id);
  }

  async #take(id: string): Promise<Lease<H>> {
    for (;;) {
      const blocker = this.#blocker(id);
      if (blocker) {
        await blocker;
        continue;
      }
      const held = this.#leased.get(id);
      if (held && !held.toBeClosed) {
        held.holders += 1;
        held.idleSince = null;
        this.#hits += 1;
        return held;
      }
      if (held) {
        await this.#nextReturn();
        continue;
      }
      const idle = this.#takeIdle(id);
      if (idle) {
        this.#hits += 1;
        return this.#lease(id, idle);
      }
      if (this.#hasRoom(id)) {
        this.#misses += 1;
        return this.#lease(id, this.#options.open(id));
      }
      this.#roomWanted.add(id);
      await this.#nextReturn();
      this.#roomWanted.delete(id);
    }
  }

  #lease(id: string, handle: H): Lease<H> {
    const lease: Lease<H> = { handle, holders: 1, idleSince: null, toBeClosed: false };
    this.#leased.set(id, lease);
    return lease;
  }

  #giveBack(id: string, lease: Lease<H>): void {
    lease.holders -= 1;
    if (lease.holders > 0) return;
    this.#leased.delete(id);
    if (lease.toBeClosed) lease.handle.close();
    else this.#idle.set(id, lease.handle, lease.idleSince === null ? {} : { start: lease.idleSince });
    this.#wake();
  }

  #takeIdle(id: string): H | undefined {
    const handle = this.#idle.get(id);
    if (handle) this.#idle.delete(id);
    return handle;
  }

  get #openCount(): number {
    return this.#leased.size + this.#idle.size + this.#closing.size;
  }

  /** Makes room by closing the file that was used least recently; false where it has to be waited for. */
  #hasRoom(id: string): boolean {
    const { openMax } = this.#options;
    if (this.#openCount < openMax) return true;
    // One for each tenant that waits, this one included.
    const wanted = this.#roomWanted.size + (this.#roomWanted.has(id) ? 0 : 1);
    if (this.#idle.size === 0 || this.#closing.size >= wanted) return false;
    this.#idle.pop();
    this.#evictions += 1;
    return this.#openCount < openMax;
  }

  /** Closes a file that is not used any more: aside where others may be answered meanwhile. */
  #retire(id: string, handle: H): void {
    if (this.#closed || !handle.closeAside) {
      handle.close();
      return;
    }
    const isOver = (): void => {
      this.#closing.delete(id);
      this.#wake();
    };
    this.#closing.set(id, handle.closeAside().then(isOver, isOver));
  }

  #nextReturn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
