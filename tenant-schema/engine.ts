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

export interface TenantName {
  id: string;
  name: string;
}

/** What a finished, self-contained tenant file is. */
export interface FileReport {
  schemaVersion: number;
  sizeBytes: number;
  /** Hexadecimal. */
  sha256: string;
  /** Rows by table. */
  rows: Record<string, number>;
}

/** What is found in a tenant's file that is only looked at. */
export interface CheckReport {
  /** Whom the file says it belongs to. */
  tenant: TenantName | null;
  schemaVersion: number | null;
  sizeBytes: number;
  /** Null where the file is sound. */
  problem: string | null;
}

/** What a look at a file's header finds. */
export interface Glance {
  /** Null where it cannot be read. */
  schemaVersion: number | null;
  /** Why this server cannot open the file; null as far as its header tells. */
  problem: string | null;
}

export interface ReplaceOptions {
  /**
   * A new path for a file out of which SQLite cannot read, with the `-wal` or journal that lies beside its name.
   * Without it such data are not replaced: `tenant_unavailable`.
   */
  parkAt?: string;
  /** Surrounds the exchange itself; comes after all that can go wrong with the new data. */
  during?<T>(exchange: () => Promise<T>): Promise<T>;
  /** Called when the old data are safe and not replaced yet; what it throws keeps them in their place. */
  onKept?(kept: FileReport | null): Promise<void>;
}

/** Verbs that may look at many rows, or write them. What goes in and comes out is plain data. */
export type LongVerb = 'listConversations' | 'listLogs' | 'sumUsage' | 'pruneLogs';

/**
 * Reaches tenants' databases, one per tenant; knows no HTTP, no key and no second tenant at a time. Work on whole
 * files runs off the event loop. It is done or not begun: what is under way has a name that nobody looks for.
 */
export interface TenantEngine {
  /** Makes the tenant's empty database. It is there whole, or not at all. */
  create(tenant: TenantName): Promise<void>;
  /**
   * Runs `work` on the tenant's store and gives back what it returns. The store must not be kept past that. A database
   * of an earlier release is migrated first, as by `migrate`; all who ask for it meanwhile wait for the one migration.
   * @throws `tenant_unavailable` when the database is missing, damaged, newer than this program or not this tenant's.
   */
  use<T>(tenantId: string, work: (store: TenantStore) => T | Promise<T>): Promise<T>;
  /** As `use`, for one verb that may take long: beside the event loop, so that no other tenant waits for it. */
  run<V extends LongVerb>(
    tenantId: string,
    verb: V,
    ...args: Parameters<TenantStore[V]>
  ): Promise<ReturnType<TenantStore[V]>>;
  /**
   * As `use`, for upkeep: only where the file is open already, and it is closed no later for it.
   * @returns null, with nothing done, where it is not open
   */
  useIfOpen<T>(tenantId: string, work: (store: TenantStore) => T): Promise<T | null>;
  /** `run` as `useIfOpen`. */
  runIfOpen<V extends LongVerb>(
    tenantId: string,
    verb: V,
    ...args: Parameters<TenantStore[V]>
  ): Promise<ReturnType<TenantStore[V]> | null>;

  /**
   * Copies the tenant's data, as of one moment, into the new file `target`: self-contained, checked, open turns
   * closed as aborted, on the disk when this resolves. Turns go on meanwhile. The caller removes the file.
   */
  snapshot(tenantId: string, target: string): Promise<FileReport>;
  /** As `snapshot`, and the copy becomes the database of another tenant, which has used nothing of its limits. */
  clone(tenantId: string, as: TenantName): Promise<FileReport>;
  /**
   * Makes a tenant's database out of a file that nobody vouches for. It has used nothing of its limits.
   * @throws `invalid_database` with the reason, which may be that looking at it took too long; nothing is left then
   */
  importFile(source: string, tenant: TenantName): Promise<FileReport>;
  /**
   * Puts what `source` holds in the place of the tenant's data. The file is taken for hostile, as with `importFile`, and
   * must be a copy of this tenant's own file; the new data are whole before anything of the old is touched. The old are
   * copied to the new path `keep`: as `snapshot` does, or as they are where they are sound but not a tenant's that can
   * be copied so. What the tenant has used of its limits stays as it was; where that cannot be read, it is what
   * `source` says.
   * @returns `kept`: null where there was nothing that can be read
   * @throws `invalid_database`, `overloaded` where another program has the data open; whatever it throws, the data
   *   are untouched then
   */
  replace(
    tenant: TenantName,
    source: string,
    keep: string,
    options?: ReplaceOptions,
  ): Promise<{ kept: FileReport | null; restored: Pick<FileReport, 'schemaVersion' | 'rows'> }>;
  /**
   * Closes the tenant's file and moves it to `target`, whole. A damaged one is moved as it is, with the `-wal` or
   * journal that may lie beside it. @throws `overloaded` where another program has it open
   */
  moveOut(tenantId: string, target: string): Promise<void>;
  /**
   * Moves a file that `moveOut` had moved back to its place.
   * @throws `tenant_unavailable` where a `-wal` or a journal of some other file lies there
   */
  moveIn(tenantId: string, source: string): Promise<void>;
  /**
   * Closes the tenant's file now, so that it stands alone, also after a crash. False where another program keeps a
   * `-wal` alive, and at once while the file is copied or checked, which nobody then waits for. @throws `tenant_unavailable` where it is missing or damaged
   */
  quiesce(tenantId: string): Promise<boolean>;
  /** Looks at the tenant's file off the event loop, without changing it. */
  check(tenantId: string): Promise<CheckReport>;
  /**
   * Brings the tenant's file to the latest schema, off the event loop, as its first use would. One that is there costs
   * a look. Where tables are rewritten, a copy of the file as it was is kept first, if the engine was told where; open
   * turns stay open in it. @throws what is wrong; the file is at its old version then
   */
  migrate(tenantId: string): Promise<{ from: number; to: number }>;
  /** When the tenant's data were last written, in epoch milliseconds, and how large they are on the disk. */
  stat(tenantId: string): Promise<{ changedAt: number; sizeBytes: number }>;
  /** As `check`, for a tenant's file that lies elsewhere and that nobody has open. */
  checkFile(path: string): Promise<CheckReport>;
  /** What the header of each tenant's file says, in the order of the ids. Cheap, and opens none of them here. */
  glance(tenantIds: readonly string[]): Promise<Glance[]>;
  /** The schema version that every file is brought to. */
  readonly schemaVersion: number;
  /** The ids of all files in the folder, in no order. */
  list(): Promise<string[]>;

  /** Removes the tenant's database for good. Waits for work under way on it. */
  destroy(tenantId: string): Promise<void>;
  /** Closes what has been idle for long enough; runs by itself once a second. */
  closeIdle(): void;

  /**
   * For another process that works on the tenant's file: closes it here as soon as nobody here uses it, and lets nobody
   * open it until what this gives is called.
   */
  letGo(tenantId: string): Promise<() => void>;
  /**
   * Removes the `-wal` beside a tenant's file that other processes have closed in the same moment, each of which took
   * the other for one that goes on. Does no harm where somebody does.
   */
  settleRest(tenantId: string): Promise<void>;
  /**
   * Closes every file as soon as nobody uses it; the next use opens it again. When another process of the server has
   * died, so that its turns are seen to be dead.
   */
  closeSoon(): void;
  stats(): EngineStats;
  /** Ends the work on whole files, waits for all other, and closes every file. Later calls are refused. */
  close(): Promise<void>;
}
