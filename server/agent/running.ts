import { Fault } from '../../tenant-schema/fault.ts';

interface RunningTurn {
  tenantId: string;
  /** What it is expected to add to the tenant's data. */
  bytes: number;
  controller: AbortController;
  settled: Promise<void>;
  settle(): void;
}

/** The turns at work in this process, from their admission until they are settled. */
export class RunningTurns {
  readonly #turns = new Map<string, RunningTurn>();
  /** The sum of `bytes` by tenant; none where no turn runs. */
  readonly #bytes = new Map<string, number>();
  /** Tenants whose turns may not begin; those that would wait for the promise. */
  readonly #paused = new Map<string, Promise<void>>();

  has(turnId: string): boolean {
    return this.#turns.has(turnId);
  }

  /** What the tenant's turns are expected to add to its data. */
  bytesOf(tenantId: string): number {
    return this.#bytes.get(tenantId) ?? 0;
  }

  add(turnId: string, { tenantId, bytes, controller }: Omit<RunningTurn, 'settled' | 'settle'>): void {
    let settle = (): void => {};
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    this.#turns.set(turnId, { tenantId, bytes, controller, settled, settle });
    this.#bytes.set(tenantId, this.bytesOf(tenantId) + bytes);
  }

  /** To be called when the turn is settled, whatever its end. */
  remove(turnId: string): void {
    const turn = this.#turns.get(turnId);
    if (!turn) return;
    this.#turns.delete(turnId);
    const left = this.bytesOf(turn.tenantId) - turn.bytes;
    if (left > 0) this.#bytes.set(turn.tenantId, left);
    else this.#bytes.delete(turn.tenantId);
    turn.settle();
  }

  isPaused(tenantId: string): boolean {
    return this.#paused.has(tenantId);
  }

  /** Resolves when turns of the tenant may begin. */
  async unpaused(tenantId: string): Promise<void> {
    while (this.#paused.has(tenantId)) await this.#paused.get(tenantId);
  }

  /** See `Agent.paused`. */
  async paused<T>(tenantId: string, reason: Fault, work: () => Promise<T>): Promise<T> {
    // Looked at anew in the tick in which it is taken: others may have waited for the same.
    while (this.#paused.has(tenantId)) await this.#paused.get(tenantId);
    let resume = (): void => {};
    const done = new Promise<void>((resolve) => {
      resume = resolve;
    });
    this.#paused.set(tenantId, done);
    try {
      const turns = [...this.#turns.values()].filter((turn) => turn.tenantId === tenantId);
      for (const { controller } of turns) controller.abort(reason);
      await Promise.all(turns.map(({ settled }) => settled));
      return await work();
    } finally {
      this.#paused.delete(tenantId);
      resume();
    }
  }

  /** Resolves when no turn runs; after `deadlineMs` those that still do are aborted first. */
  async drain(deadlineMs: number): Promise<void> {
    const reason = new Fault('overloaded', 'The server is shutting down.');
    let isLate = false;
    const abortAll = (): void => {
      isLate = true;
      for (const { controller } of this.#turns.values()) controller.abort(reason);
    };
    const timer = setTimeout(abortAll, deadlineMs);
    try {
      while (this.#turns.size > 0) {
        // Those too that were being admitted at the deadline.
        if (isLate) abortAll();
        await Promise.all([...this.#turns.values()].map(({ settled }) => settled));
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
