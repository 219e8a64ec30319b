import { lstat } from 'node:fs/promises';
import type { Worker } from 'node:worker_threads';
import type { Clock } from '../clock.ts';
import type { FileReport, TenantEngine, TenantName } from '../engine.ts';
import { Fault } from '../fault.ts';
import type { IdMaker } from '../ids.ts';
import type { UsageDay } from '../store.ts';
import { createBlankFiles } from './blank-file.ts';
import { closingIn } from './close-aside.ts';
import { settleDatabase } from './connection.ts';
import { isBroken, isDamage, isLocked, translate, translateJob, unavailable } from './errors.ts';
import { keepOld, publishOverRest } from './exchange.ts';
import { createFileWorker, type FileWorker, JobEndedError } from './file-worker.ts';
import { TENANT_MIGRATIONS } from './migrations.ts';
import { defineMigrations, type Migrations, OlderDatabaseError } from './migrator.ts';
import { createNewFiles } from './new-files.ts';
import { createOpener, type OpenTenant } from './open-tenant.ts';
import {
  isTaken,
  moveDatabase,
  publish,
  removeDatabase,
  removeUnfinishedMove,
  standsAlone,
  syncToDisk,
  tenantPaths,
} from './paths.ts';
import { LockedError, patiently } from './patience.ts';
import { Pool } from './pool.ts';
import { createSideThread } from './side-thread.ts';
import type { ThreadData } from './side-thread-main.ts';
import { createUpgrades } from './upgrades.ts';
import type { SyncFile } from './wal-sync.ts';

export interface EngineOptions {
  /** Where the tenants' files are; must exist. */
  folder: string;
  clock: Clock;
  ids: IdMaker;
  /** Names this start of this process; see `StoreContext`. */
  runId: string;
  /** See `StoreContext`. */
  isLiveRun?(runId: string): boolean;
  /**
   * For the process that owns the folder, where others use its files: runs `work` while none of them has the tenant's
   * file open. Default: there are no others.
   */
  closedElsewhere?<T>(tenantId: string, work: () => Promise<T>): Promise<T>;
  /**
   * For a process that uses the files of a folder that another one owns. It only uses files, and that it may be closed
   * by somebody else does not surprise it.
   */
  owner?: {
    /** Has a file brought to the latest schema. */
    bringUp(tenantId: string): Promise<void>;
    /** Told of each file that was closed and has a `-wal` left: another process has it open, or has closed it just then. */
    closedWithRest(tenantId: string): void;
  };
  openMax: number;
  idleMs: number;
  /**
   * Idle files are closed, and what may look at many rows is done, in threads, for a process that answers others
   * meanwhile. Default: on the event loop.
   */
  usesThreads?: boolean;
  /** Default: the threads' own program. */
  startThread?(data: ThreadData): Worker;
  /** `full`: what was done is on the disk when `use` resolves. `normal`: it survives the process, but maybe not the machine. */
  durability: 'full' | 'normal';
  /** Default: `fdatasync`, off the event loop. */
  syncFile?: SyncFile;
  log: { warn(fields: object, message: string): void };
  /** The limit of a tenant's file, asked at each open; null is none. Default: none for anybody. */
  storageBytesMaxOf?(tenantId: string): number | null;
  /** Called with each turn that has ended, after the commit: as the usage of its day, of one turn. */
  onUsage?(tenantId: string, usage: UsageDay): void;
  /** Default: this program's. */
  migrations?: Migrations;
  /**
   * Keeps a copy of a tenant's file before a migration writes tables of it anew: `copy` puts one at a new path. What it
   * throws keeps the file as it is. It must not use the tenant, whom nobody can use until this resolves. Default: none
   * is kept.
   */
  keepBeforeRewrite?(tenantId: string, copy: (target: string) => Promise<FileReport>): Promise<void>;
  /** The process that copies files is started now. Default: with the first copy; it stays from then on. */
  startsCopier?: boolean;
  /** A file from elsewhere must be checked and copied within this time. */
  importTimeoutMs?: number;
  /** How long other work on a file of so many bytes may take. Default: generous. */
  timeLimitMsOf?(fileBytes: number): number;
}

/** How often idle files are looked for; half of the two seconds that an idle file may stay open too long. */
const SWEEP_MS = 1000;
/** Of what nobody else should notice; turns wait for a file that is closed. */
const NICENESS = 10;
const IMPORT_TIMEOUT_MS = 30 * 60 * 1000;
/**
 * Work on whole files at the same time; each is one busy process. Of each kind, so that a file from elsewhere, with
 * which looking at it may take long on purpose, keeps nobody's backup waiting, and no backup those who wait for work
 * on a file that is closed for it: a migration, an exchange, a look at what a crash has left.
 */
const CHILDREN = {
  // Whoever copies once copies again. The lower its priority, the sooner the system takes the processor from it when a
  // turn has something to do.
  copies: { childrenMax: 2, keptChildren: 1, niceness: 19 },
  imports: { childrenMax: 2 },
  closed: { childrenMax: 2 },
};

/** Tenant databases as SQLite files `<folder>/<tenant id>.db`. */
export function openTenantEngine(options: EngineOptions): TenantEngine {
  const { folder, clock, log } = options;
  const migrations = options.migrations ?? defineMigrations(TENANT_MIGRATIONS);
  const { owner: folderOwner } = options;
  const isShared = folderOwner !== undefined || options.closedElsewhere !== undefined;
  const paths = tenantPaths(folder, options.ids, { isOwner: folderOwner === undefined });
  const { build, readForeign, settled } = createNewFiles({
    paths,
    migrations,
    importTimeoutMs: options.importTimeoutMs ?? IMPORT_TIMEOUT_MS,
  });
  const makeBlank = createBlankFiles(migrations, clock);
  const workerFor = (kind: keyof typeof CHILDREN): FileWorker =>
    createFileWorker({
      ...CHILDREN[kind],
      startsKept: options.startsCopier ?? false,
      ...(options.timeLimitMsOf && { timeLimitMsOf: options.timeLimitMsOf }),
    });
  const copies = workerFor('copies');
  const imports = workerFor('imports');
  const closed = workerFor('closed');

  /** The turn has ended by then, whatever becomes of the report. */
  const reportUsage = (id: string, usage: UsageDay): void => {
    try {
      options.onUsage?.(id, usage);
    } catch (error) {
      log.warn({ tenant_id: id, err: error }, 'usage of a turn could not be reported');
    }
  };

  const threadFor = (what: string, niceness = 0) =>
    createSideThread({
      niceness,
      died: (error) => log.warn({ err: error }, `the thread that ${what} has ended; another one takes over`),
      ...(options.startThread && { start: options.startThread }),
    });
  const threads = options.usesThreads
    ? {
        closing: threadFor('closes files'),
        long: {
          reading: threadFor('reads long lists', NICENESS),
          // While it holds SQLite's lock, another process's loop may stop for it.
          writing: threadFor('removes old rows', isShared ? 0 : NICENESS),
        },
      }
    : undefined;
  const openTenant = createOpener({
    ...options,
    threads: threads && { closeAside: closingIn(threads.closing), long: threads.long },
    isShared,
    pathOf: paths.of,
    migrations,
    onUsage: reportUsage,
  });

  const settleHere = (path: string): void => {
    try {
      settleDatabase(path);
    } catch (error) {
      log.warn({ err: error, path }, 'tenant file left with a journal beside it');
    }
  };

  const pool = new Pool<OpenTenant>({
    open(id) {
      try {
        return openTenant(id);
      } catch (error) {
        if (error instanceof OlderDatabaseError) throw error;
        throw isShared && isLocked(error) ? new LockedError(error) : unavailable(error);
      }
    },
    openMax: options.openMax,
    idleMs: options.idleMs,
    clock,
  });
  const sweeper = setInterval(() => pool.closeIdle(), SWEEP_MS);
  sweeper.unref();

  /** Runs work on the open file, which is opened first where needed. */
  const withOpen = async <T>(id: string, work: (tenant: OpenTenant) => T | Promise<T>): Promise<T> => {
    const once = () => pool.use(id, work, isDamage);
    const attempt = () => (isShared ? patiently(once) : once());
    try {
      // Comes from opening the file only, so that no work is done twice.
      return await attempt().catch(async (error: unknown) => {
        if (!(error instanceof OlderDatabaseError)) throw error;
        await (folderOwner ?? upgrades).bringUp(id);
        return attempt();
      });
    } catch (error) {
      throw error instanceof OlderDatabaseError ? unavailable(error) : translate(error);
    }
  };
  const use: TenantEngine['use'] = (id, work) => withOpen(id, (tenant) => tenant.use(work));

  const { closedElsewhere = <T>(_: string, work: () => Promise<T>): Promise<T> => work() } = options;
  /** Runs work on a file that nobody has open, here first: what is waited for here keeps nobody else from the file. */
  const exclusive = <T>(id: string, work: () => Promise<T>): Promise<T> =>
    pool.exclusive(id, () => closedElsewhere(id, work));

  const copyTo = (
    worker: FileWorker,
    id: string,
    target: string,
    how: { owner: string | null; as: TenantName | null },
  ): Promise<FileReport> =>
    worker.run('snapshot', { source: paths.of(id), target, migrations, ...how }, null);

  /**
   * Copies the file into the new one `target`. Only one that is whole, this tenant's and up to date is copied, which
   * is found out on the way: to open it here first would cost as much as a small copy.
   */
  const copyOut = async (id: string, target: string, as: TenantName | null): Promise<FileReport> => {
    const attempt = () =>
      pool
        .shared(id, () => build(target, (unfinished) => copyTo(copies, id, unfinished, { owner: id, as })))
        .catch((error: unknown) => {
          throw translateJob(error);
        });
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof Fault || error instanceof JobEndedError) throw error;
      // Told as to anybody who wants to use it, or brought up to date.
      await use(id, () => {});
      if (error instanceof OlderDatabaseError) return attempt();
      throw error;
    }
  };

  const upgrades = createUpgrades({
    worker: closed,
    migrations,
    clock,
    pathOf: paths.of,
    exclusive,
    copy: (id, target) =>
      build(target, (unfinished) => copyTo(closed, id, unfinished, { owner: null, as: null })).catch(
        (error: unknown) => {
          throw translateJob(error);
        },
      ),
    keepBeforeRewrite: options.keepBeforeRewrite,
  });

  /** What the tenant has used of its limits since `target` was made. */
  const carryOver = async (source: string, target: string): Promise<void> => {
    const scratch = paths.unfinished();
    try {
      await closed.run('carryCounters', { source, scratch, target, migrations }, null);
    } finally {
      await removeDatabase(scratch);
    }
  };

  /** For a file that is closed here: brings in what a crash left beside it. False where somebody else has it open. */
  const standAlone = async (id: string): Promise<boolean> => {
    const path = paths.of(id);
    if (!isTaken(path)) throw unavailable(new Error(`${path} is missing.`));
    if (standsAlone(path)) return true;
    await closed.run('settle', { source: path }, null).catch((error: unknown) => {
      throw translateJob(error);
    });
    return standsAlone(path);
  };
  const requireAlone = async (id: string): Promise<void> => {
    if (await standAlone(id)) return;
    throw new Fault('overloaded', 'Another program has the data of this tenant open; try again.', {
      details: { retryAfterSeconds: 1 },
    });
  };

  return {
    create: ({ id, name }) =>
      build(paths.of(id), async (unfinished) => {
        makeBlank(unfinished, { id, name });
        await syncToDisk(unfinished);
      }),

    use,

    run: (id, verb, ...args) => withOpen(id, (tenant) => tenant.run(verb, args)),

    async useIfOpen(id, work) {
      try {
        return await pool.useIfOpen(id, (tenant) => tenant.use(work), isDamage);
      } catch (error) {
        throw translate(error);
      }
    },

    async runIfOpen(id, verb, ...args) {
      try {
        return await pool.useIfOpen(id, (tenant) => tenant.run(verb, args), isDamage);
      } catch (error) {
        throw translate(error);
      }
    },

    snapshot: (id, target) => copyOut(id, target, null),

    clone: (id, as) => copyOut(id, paths.of(as.id), as),

    importFile: (source, tenant) =>
      build(paths.of(tenant.id), (unfinished) =>
        readForeign(imports, source, tenant, unfinished, { isOwn: false }),
      ),

    async replace(tenant, source, keep, { parkAt, during, onKept } = {}) {
      const ready = paths.unfinished();
      const path = paths.of(tenant.id);
      try {
        // All that can go wrong with the new file has gone wrong before the old one is touched.
        const restored = await readForeign(copies, source, tenant, ready, { isOwn: true });
        const exchange = async () => {
          const kept = await keepOld(path, { worker: closed, migrations }, (make) => build(keep, make));
          if (kept) {
            await carryOver(keep, ready).catch(removing(keep));
            await requireAlone(tenant.id).catch(removing(keep));
            await onKept?.(kept);
            await publish(ready, path);
          } else {
            await onKept?.(null);
            await publishOverRest(ready, path, parkAt);
          }
          return { kept, restored: { schemaVersion: restored.schemaVersion, rows: restored.rows } };
        };
        // The tenant's handle is closed by then, also one on a file that was removed under it.
        const exclusively = () => exclusive(tenant.id, exchange);
        return await (during ? during(exclusively) : exclusively());
      } finally {
        await removeDatabase(ready);
      }
    },

    moveOut: (id, target) =>
      exclusive(id, async () => {
        await requireAlone(id).catch((error: unknown) => {
          // A damaged file is moved out of the way as it is.
          if (!(error instanceof Fault && isBroken(error.cause))) throw error;
        });
        await moveDatabase(paths.of(id), target);
      }),

    moveIn: (id, source) =>
      exclusive(id, async () => {
        const path = paths.of(id);
        if (!standsAlone(path)) {
          throw unavailable(new Error(`${path} cannot be put there: a -wal or a journal of that name is.`));
        }
        await moveDatabase(source, path);
      }),

    async quiesce(id) {
      const closed = () => closedElsewhere(id, () => standAlone(id));
      const isAlone = await pool.exclusiveUnlessShared(id, closed);
      // Where it is read meanwhile, the others close it as well, and nobody waits either.
      return isAlone ?? closedElsewhere(id, async () => false);
    },
    async letGo(id) {
      let closed = (_release: () => void): void => {};
      const held = new Promise<() => void>((resolve) => {
        closed = resolve;
      });
      const over = pool.exclusive(id, () => new Promise<void>((release) => closed(release)));
      // It is over when it is released, or at once where nothing is opened here any more.
      return Promise.race([held, over.then(() => () => {})]);
    },
    settleRest: async (id) => {
      const path = paths.of(id);
      await pool.exclusiveUnlessShared(id, async () => {
        if (isTaken(path) && !standsAlone(path)) settleHere(path);
      });
    },
    closeSoon: () => pool.closeSoon(),

    check: (id) => pool.shared(id, () => copies.run('check', { source: paths.of(id), migrations }, null)),

    migrate: upgrades.migrate,

    async stat(id) {
      // Names and sizes only: opening the file here would drop SQLite's locks.
      const main = await lstat(paths.of(id));
      const wal = await lstat(`${paths.of(id)}-wal`).catch(() => null);
      return {
        changedAt: Math.max(main.mtimeMs, wal?.mtimeMs ?? 0),
        sizeBytes: main.size + (wal?.size ?? 0),
      };
    },

    checkFile: (path) => copies.run('check', { source: path, migrations }, null),

    glance: (tenantIds) =>
      copies.run('glance', { sources: tenantIds.map(paths.of), latest: migrations.latest }, null),

    schemaVersion: migrations.latest,

    list: () => paths.list(),

    destroy: (id) =>
      exclusive(id, async () => {
        await removeDatabase(paths.of(id));
        await removeUnfinishedMove(paths.of(id));
        await syncToDisk(folder);
      }),

    closeIdle: () => pool.closeIdle(),
    stats: () => pool.stats(),

    close: async () => {
      clearInterval(sweeper);
      await Promise.all([pool.close(), copies.close(), imports.close(), closed.close()]);
      if (threads) {
        const { closing, long } = threads;
        await Promise.all([closing, long.reading, long.writing].map((thread) => thread.end()));
      }
      await settled();
      if (folderOwner) return;
      // Of files on which a job was ended.
      for (const path of await paths.unsettled()) settleHere(path);
    },
  };
}

/** Ends work that failed without what it had made before. */
const removing =
  (path: string) =>
  async (error: unknown): Promise<never> => {
    await removeDatabase(path);
    throw error;
  };
