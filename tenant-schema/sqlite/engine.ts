import { lstatSync } from 'node:fs';
import { lstat, open as openFile } from 'node:fs/promises';
import type Database from 'better-sqlite3';
import type { Clock } from '../clock.ts';
import type { FileReport, TenantEngine, TenantName } from '../engine.ts';
import { Fault } from '../fault.ts';
import type { IdMaker } from '../ids.ts';
import type { UsageDay } from '../store.ts';
import { closeDatabase, openDatabase, settleDatabase } from './connection.ts';
import { isBroken, isDamage, reasonToRefuse, translate, translateJob, unavailable } from './errors.ts';
import { keepOld, publishOverRest } from './exchange.ts';
import { createFileWorker } from './file-worker.ts';
import { createContext } from './handle.ts';
import { requireOurs } from './known-schema.ts';
import { TENANT_APPLICATION_ID, TENANT_MIGRATIONS } from './migrations.ts';
import { defineMigrations, type Migrations, migrate } from './migrator.ts';
import {
  isFree,
  isTaken,
  moveDatabase,
  publish,
  removeDatabase,
  standsAlone,
  syncToDisk,
  tenantPaths,
} from './paths.ts';
import { Pool, type Pooled } from './pool.ts';
import { createStore, type SqliteTenantStore } from './store.ts';

export interface EngineOptions {
  /** Where the tenants' files are; must exist. */
  folder: string;
  clock: Clock;
  ids: IdMaker;
  /** Names this start of the server; see `StoreContext`. */
  runId: string;
  openMax: number;
  idleMs: number;
  /** `FULL`: a commit is on the disk when a verb returns. `NORMAL`: it survives the process, but maybe not the machine. */
  synchronous: 'FULL' | 'NORMAL';
  log: { warn(fields: object, message: string): void };
  /** The limit of a tenant's file, asked at each open; null is none. Default: none for anybody. */
  storageBytesMaxOf?(tenantId: string): number | null;
  /** Called with each turn that has ended, after the commit: as the usage of its day, of one turn. */
  onUsage?(tenantId: string, usage: UsageDay): void;
  /** Default: this program's. */
  migrations?: Migrations;
  /** A file from elsewhere must be checked and copied within this time. */
  importTimeoutMs?: number;
}

interface OpenTenant extends Pooled {
  store: SqliteTenantStore;
}

/** How often idle files are looked for; half of the two seconds that an idle file may stay open too long. */
const SWEEP_MS = 1000;
const IMPORT_TIMEOUT_MS = 30 * 60 * 1000;
/** Work on whole files at the same time; each is one busy process. */
const FILE_WORKERS = 2;

/** Tenant databases as SQLite files `<folder>/<tenant id>.db`. */
export function openTenantEngine(options: EngineOptions): TenantEngine {
  const { folder, clock, log } = options;
  const migrations = options.migrations ?? defineMigrations(TENANT_MIGRATIONS);
  const paths = tenantPaths(folder, options.ids);
  const worker = createFileWorker({ childrenMax: FILE_WORKERS });

  /** The turn has ended by then, whatever becomes of the report. */
  const reportUsage = (id: string, usage: UsageDay): void => {
    try {
      options.onUsage?.(id, usage);
    } catch (error) {
      log.warn({ tenant_id: id, err: error }, 'usage of a turn could not be reported');
    }
  };

  const openTenant = (id: string): OpenTenant => {
    const path = paths.of(id);
    // SQLite follows links; a file of ours is never one.
    if (!lstatSync(path).isFile()) throw new Error(`${path} is not a regular file.`);
    const db = openDatabase(path, {
      mustExist: true,
      synchronous: options.synchronous,
      accept: (file) => requireOurs(file, migrations),
    });
    const close = (): void => {
      const { checkpointed, error } = closeDatabase(db);
      if (!checkpointed) {
        log.warn(
          { tenant_id: id, err: error },
          'tenant file closed without a full checkpoint; its -wal stays',
        );
      }
    };
    try {
      migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now: clock.now() });
      const owner = db.prepare('SELECT id FROM tenant').pluck().get();
      if (owner !== id) throw new Error(`${path} belongs to tenant ${String(owner)}.`);
      const storageBytesMax = options.storageBytesMaxOf?.(id) ?? null;
      limitPages(db, storageBytesMax);
      const onUsage = (usage: UsageDay): void => reportUsage(id, usage);
      const store = createStore(createContext(db, { ...options, storageBytesMax, onUsage }));
      store.closeDeadTurns();
      return { store, close };
    } catch (error) {
      close();
      throw error;
    }
  };

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
        throw unavailable(error);
      }
    },
    openMax: options.openMax,
    idleMs: options.idleMs,
    clock,
  });
  const sweeper = setInterval(() => pool.closeIdle(), SWEEP_MS);
  sweeper.unref();

  const use: TenantEngine['use'] = async (id, work) => {
    try {
      return await pool.use(id, ({ store }) => work(store), isDamage);
    } catch (error) {
      throw translate(error);
    }
  };

  const useIfOpen: TenantEngine['useIfOpen'] = async (id, work) => {
    try {
      return await pool.useIfOpen(id, ({ store }) => work(store), isDamage);
    } catch (error) {
      throw translate(error);
    }
  };

  /** Builds a new file under an unfinished name and publishes it; leaves nothing behind where that fails. */
  const build = async <T>(target: string, make: (unfinished: string) => Promise<T>): Promise<T> => {
    // A rename would put the new file in the place of the old one without a word.
    if (!isFree(target)) throw new Error(`${target}, or a -wal or a journal of it, exists already.`);
    const unfinished = paths.unfinished();
    try {
      const made = await make(unfinished);
      await publish(unfinished, target);
      return made;
    } catch (error) {
      await removeDatabase(unfinished);
      throw error;
    }
  };

  /** Work that removes its own traces when it fails; `close` waits for that. */
  const underWay = new Set<Promise<unknown>>();
  const tracked = async <T>(work: Promise<T>): Promise<T> => {
    underWay.add(work);
    try {
      return await work;
    } finally {
      underWay.delete(work);
    }
  };

  /** Opens the file for a moment: only one that is whole, this tenant's and up to date is copied. */
  const requireUsable = (id: string): Promise<void> => use(id, () => {});

  const copyOut = (id: string, target: string, as: TenantName | null): Promise<FileReport> =>
    worker.run('snapshot', { source: paths.of(id), target, as, migrations }, null).catch((error: unknown) => {
      throw translateJob(error);
    });

  const readForeign = async (
    source: string,
    tenant: TenantName,
    target: string,
    { isOwn }: { isOwn: boolean },
  ): Promise<FileReport> => {
    const scratch = paths.unfinished();
    try {
      const input = { source, scratch, target, tenant, migrations, isOwn };
      return await worker.run('importFile', input, options.importTimeoutMs ?? IMPORT_TIMEOUT_MS);
    } catch (error) {
      const reason = reasonToRefuse(error);
      if (reason === null) throw error;
      throw new Fault('invalid_database', `The file cannot be imported. ${reason}`, { cause: error });
    } finally {
      await removeDatabase(scratch);
    }
  };

  /** What the tenant has used of its limits since `target` was made. */
  const carryOver = async (source: string, target: string): Promise<void> => {
    const scratch = paths.unfinished();
    try {
      await worker.run('carryCounters', { source, scratch, target, migrations }, null);
    } finally {
      await removeDatabase(scratch);
    }
  };

  /** For a file that is closed here: brings in what a crash left beside it. False where somebody else has it open. */
  const standAlone = async (id: string): Promise<boolean> => {
    const path = paths.of(id);
    if (!isTaken(path)) throw unavailable(new Error(`${path} is missing.`));
    if (standsAlone(path)) return true;
    await worker.run('settle', { source: path }, null).catch((error: unknown) => {
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
        // Made by us first, for its mode; SQLite gives the -wal the mode of its database.
        await (await openFile(unfinished, 'wx', 0o600)).close();
        const db = openDatabase(unfinished, {
          mustExist: true,
          synchronous: 'NORMAL',
          // So that pages can be given back to the disk; afterwards SQLite does not hear of it any more.
          accept: (file) => file.pragma('auto_vacuum = INCREMENTAL'),
        });
        try {
          const now = clock.now();
          migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now });
          db.prepare('INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)').run(id, name, now);
        } finally {
          closeDatabase(db);
        }
        await syncToDisk(unfinished);
      }),

    use,
    useIfOpen,

    async snapshot(id, target) {
      await requireUsable(id);
      return pool.shared(id, () => build(target, (unfinished) => copyOut(id, unfinished, null)));
    },

    async clone(id, as) {
      await requireUsable(id);
      return pool.shared(id, () => build(paths.of(as.id), (unfinished) => copyOut(id, unfinished, as)));
    },

    importFile: (source, tenant) =>
      tracked(
        build(paths.of(tenant.id), (unfinished) => readForeign(source, tenant, unfinished, { isOwn: false })),
      ),

    async replace(tenant, source, keep, { parkAt, during, onKept } = {}) {
      const ready = paths.unfinished();
      const path = paths.of(tenant.id);
      try {
        // All that can go wrong with the new file has gone wrong before the old one is touched.
        const restored = await tracked(readForeign(source, tenant, ready, { isOwn: true }));
        const exchange = async () => {
          const kept = await keepOld(path, { worker, migrations }, (make) => build(keep, make));
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
        const exclusively = () => pool.exclusive(tenant.id, exchange);
        return await (during ? during(exclusively) : exclusively());
      } finally {
        await removeDatabase(ready);
      }
    },

    moveOut: (id, target) =>
      pool.exclusive(id, async () => {
        await requireAlone(id).catch((error: unknown) => {
          // A damaged file is moved out of the way as it is.
          if (!(error instanceof Fault && isBroken(error.cause))) throw error;
        });
        await moveDatabase(paths.of(id), target);
      }),

    moveIn: (id, source) =>
      pool.exclusive(id, async () => {
        const path = paths.of(id);
        if (isTaken(path)) throw new Error(`Tenant ${id} has a file already.`);
        if (!standsAlone(path)) {
          throw unavailable(new Error(`${path} cannot be put there: a -wal or a journal of that name is.`));
        }
        await moveDatabase(source, path);
      }),

    quiesce: async (id) => (await pool.exclusiveUnlessShared(id, () => standAlone(id))) ?? false,

    check: (id) => pool.shared(id, () => worker.run('check', { source: paths.of(id), migrations }, null)),

    migrate: (id, { keepAt = null } = {}) =>
      pool.exclusive(id, async () => {
        const attempt = (mayRewrite: boolean) =>
          worker.run('migrateFile', { source: paths.of(id), migrations, mayRewrite }, null);
        const first = await attempt(keepAt === null);
        if (!first.copyFirst || keepAt === null) return { from: first.from, to: first.to, kept: null };
        const kept = await build(keepAt, (unfinished) => copyOut(id, unfinished, null));
        const { from, to } = await attempt(true).catch(removing(keepAt));
        return { from, to, kept };
      }),

    async stat(id) {
      // Names and sizes only: opening the file here would drop SQLite's locks.
      const main = await lstat(paths.of(id));
      const wal = await lstat(`${paths.of(id)}-wal`).catch(() => null);
      return {
        changedAt: Math.max(main.mtimeMs, wal?.mtimeMs ?? 0),
        sizeBytes: main.size + (wal?.size ?? 0),
      };
    },

    checkFile: (path) => worker.run('check', { source: path, migrations }, null),

    glance: (tenantIds) =>
      worker.run('glance', { sources: tenantIds.map(paths.of), latest: migrations.latest }, null),

    schemaVersion: migrations.latest,

    list: () => paths.list(),

    destroy: (id) =>
      pool.exclusive(id, async () => {
        await removeDatabase(paths.of(id));
        await syncToDisk(folder);
      }),

    closeIdle: () => pool.closeIdle(),
    stats: () => pool.stats(),

    close: async () => {
      clearInterval(sweeper);
      await Promise.all([pool.close(), worker.close()]);
      await Promise.allSettled(underWay);
      // Of files on which a job was ended.
      for (const path of await paths.unsettled()) settleHere(path);
    },
  };
}

/** How far a file may grow past its tenant's limit: turns that were admitted below it must be able to settle. */
const HEADROOM_BYTES = 32 * 1024 * 1024;

/** SQLite forgets this limit when a file is closed, and never sets it below what the file has. */
function limitPages(db: Database.Database, bytesMax: number | null): void {
  if (bytesMax === null) return;
  const pageBytes = Number(db.pragma('page_size', { simple: true }));
  const pagesMax = Math.min(Math.ceil((bytesMax + HEADROOM_BYTES) / pageBytes), 0xffff_fffe);
  db.pragma(`max_page_count = ${pagesMax}`);
}

/** Ends work that failed without what it had made before. */
const removing =
  (path: string) =>
  async (error: unknown): Promise<never> => {
    await removeDatabase(path);
    throw error;
  };
