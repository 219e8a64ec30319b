import type { TenantStore } from './store.ts';

/** Pool figures: counts since start, and how many files are open now. */
export interface EngineStats {
  open: number;
  leased: number;
  openMax: number;
  hits: number;
  misses: number;
  evictions: number;
}

/** Reaches tenants' databases, one per tenant; knows no HTTP, no key and no second tenant at a time. */
export interface TenantEngine {
  /** Makes the tenant's empty database. It is there whole, or not at all. */
  create(tenant: { id: string; name: string }): Promise<void>;
  /**
   * Runs `work` on the tenant's store and gives back what it returns. The store must not be kept past that.
   * @throws `tenant_unavailable` when the database is missing, damaged, newer than this program or not this tenant's.
   */
  use<T>(tenantId: string, work: (store: TenantStore) => T | Promise<T>): Promise<T>;
  /** Undoes `create`: removes the tenant's database for good. Waits for work under way on it. */
  destroy(tenantId: string): Promise<void>;
  /** Closes what has been idle for long enough; runs by itself once a second. */
  closeIdle(): void;
  stats(): EngineStats;
  /** Waits for work under way, then closes every file. Later calls are refused. */
  close(): Promise<void>;
}
