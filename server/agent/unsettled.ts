import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault, type FaultCode } from '../../tenant-schema/fault.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';

type Write = (store: TenantStore) => boolean;

/** What keeps the end of a turn from being written and may be gone later: a full disk, a lock, a file out of reach. */
const PASSING: readonly FaultCode[] = ['storage_quota_exceeded', 'overloaded', 'tenant_unavailable'];

/**
 * Ends of turns that could not be written. They are kept until the tenant's next turn, so that what a provider has
 * charged still gets into the log; a process that dies first takes them along.
 */
export class UnsettledTurns {
  readonly #engine: Pick<TenantEngine, 'use'>;
  readonly #writes = new Map<string, Write[]>();

  constructor(engine: Pick<TenantEngine, 'use'>) {
    this.#engine = engine;
  }

  /** Keeps the end of a turn where `error`, with which it failed, may pass. */
  add(tenantId: string, write: Write, error: unknown): void {
    if (!(error instanceof Fault && PASSING.includes(error.code))) return;
    this.#writes.set(tenantId, [...(this.#writes.get(tenantId) ?? []), write]);
  }

  /** Writes what is left of a tenant. @throws what still keeps it from being written */
  async settle(tenantId: string): Promise<void> {
    const writes = this.#writes.get(tenantId);
    if (!writes) return;
    this.#writes.delete(tenantId);
    for (const write of writes) {
      try {
        await this.#engine.use(tenantId, write);
      } catch (error) {
        for (const left of writes.slice(writes.indexOf(write))) this.add(tenantId, left, error);
        throw error;
      }
    }
  }

  /** Writes what can be written now. */
  async settleAll(): Promise<void> {
    await Promise.allSettled([...this.#writes.keys()].map((tenantId) => this.settle(tenantId)));
  }
}
