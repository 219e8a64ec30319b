import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault, type FaultCode } from '../../tenant-schema/fault.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';

type Write = (store: TenantStore) => boolean;

/** What keeps the end of a turn from being written and may be gone later: a full disk, a lock, a file out of reach. */
const PASSING: readonly FaultCode[] = ['storage_quota_exceeded', 'overloaded', 'tenant_unavailable'];

const isPassing = (error: unknown): boolean => error instanceof Fault && PASSING.includes(error.code);

/**
 * Ends of turns that could not be written. They are kept until the tenant's next turn, so that what a provider has
 * charged still gets into the log; a process that dies first takes them along.
 */
export class UnsettledTurns {
  readonly #engine: Pick<TenantEngine, 'use'>;
  readonly #writes = new Map<string, Write[]>();
  readonly #settling = new Map<string, Promise<void>>();

  constructor(engine: Pick<TenantEngine, 'use'>) {
    this.#engine = engine;
  }

  /** Keeps the end of a turn where `error`, with which it failed, may pass. */
  add(tenantId: string, write: Write, error: unknown): void {
    if (!isPassing(error)) return;
    this.#writes.set(tenantId, [...(this.#writes.get(tenantId) ?? []), write]);
  }

  /**
   * Writes what is left of a tenant. Who comes meanwhile waits along: a turn that began before would take one whose end
   * is not written yet for lost.
   * @throws what still keeps it from being written
   */
  settle(tenantId: string): Promise<void> {
    const underWay = this.#settling.get(tenantId);
    if (underWay) return underWay;
    if (!this.#writes.has(tenantId)) return Promise.resolve();
    const settling = this.#writeAll(tenantId).finally(() => this.#settling.delete(tenantId));
    this.#settling.set(tenantId, settling);
    return settling;
  }

  async #writeAll(tenantId: string): Promise<void> {
    for (;;) {
      const [write] = this.#writes.get(tenantId) ?? [];
      if (!write) return;
      try {
        await this.#engine.use(tenantId, write);
      } catch (error) {
        if (!isPassing(error)) this.#drop(tenantId, write);
        throw error;
      }
      this.#drop(tenantId, write);
    }
  }

  #drop(tenantId: string, write: Write): void {
    const left = (this.#writes.get(tenantId) ?? []).filter((other) => other !== write);
    if (left.length > 0) this.#writes.set(tenantId, left);
    else this.#writes.delete(tenantId);
  }

  /** Writes what can be written now. */
  async settleAll(): Promise<void> {
    await Promise.allSettled([...this.#writes.keys()].map((tenantId) => this.settle(tenantId)));
  }
}
