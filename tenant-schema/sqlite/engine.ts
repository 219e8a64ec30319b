import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { open as openFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import type { Clock } from '../clock.ts';
import type { TenantEngine } from '../engine.ts';
import { Fault } from '../fault.ts';
import { type IdMaker, isId } from '../ids.ts';
import { closeDatabase, openDatabase } from './connection.ts';
import { createContext } from './handle.ts';
import { TENANT_APPLICATION_ID, TENANT_MIGRATIONS } from './migrations.ts';
import { defineMigrations, migrate } from './migrator.ts';
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
}

interface OpenTenant extends Pooled {
  store: SqliteTenantStore;
}

/** How often idle files are looked for; half of the two seconds that an idle file may stay open too long. */
const SWEEP_MS = 1000;

/** Tenant databases as SQLite files `<folder>/<tenant id>.db`. */
export function openTenantEngine(options: EngineOptions): TenantEngine {
  const { folder, clock, log } = options;
  const migrations = defineMigrations(TENANT_MIGRATIONS);
  // Files under construction have a folder of their own: what a crash left is removed without a look at the others.
  const nursery = join(folder, '.creating');
  rmSync(nursery, { recursive: true, force: true });
  mkdirSync(nursery, { mode: 0o700 });

  const pathOf = (id: string): string => {
    if (!isId(id)) throw new Error('A tenant id is a UUIDv7.');
    return join(folder, `${id}.db`);
  };

  const openTenant = (id: string): OpenTenant => {
    const path = pathOf(id);
    // SQLite follows links; a file of ours is never one.
    if (!lstatSync(path).isFile()) throw new Error(`${path} is not a regular file.`);
    const db = openDatabase(path, { mustExist: true, synchronous: options.synchronous });
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
      // An empty file would pass for a new one and be filled with empty tables over the lost data.
      if (db.pragma('user_version', { simple: true }) === 0) throw new Error(`${path} has no schema.`);
      migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now: clock.now() });
      const owner = db.prepare('SELECT id FROM tenant').pluck().get();
      if (owner !== id) throw new Error(`${path} belongs to tenant ${String(owner)}.`);
      const store = createStore(createContext(db, options));
      store.closeDeadTurns();
      return { store, close };
    } catch (error) {
      close();
      throw error;
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

  return {
    create: async ({ id, name }) => {
      const path = pathOf(id);
      const unfinished = join(nursery, `${id}.db`);
      try {
        // Made by us first, for its mode; SQLite gives the -wal the mode of its database.
        await (await openFile(unfinished, 'wx', 0o600)).close();
        const db = openDatabase(unfinished, { mustExist: true, synchronous: 'NORMAL' });
        try {
          const now = clock.now();
          migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now });
          db.prepare('INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)').run(id, name, now);
        } finally {
          closeDatabase(db);
        }
        // Closed and not yet anybody's: the one moment at which it may be opened without SQLite.
        await sync(unfinished);
        await rename(unfinished, path);
        await sync(dirname(path));
      } catch (error) {
        await removeFiles(unfinished);
        throw error;
      }
    },

    use: async (id, work) => {
      try {
        return await pool.use(id, ({ store }) => work(store), isDamage);
      } catch (error) {
        throw translate(error);
      }
    },

    destroy: (id) =>
      pool.exclusive(id, async () => {
        await removeFiles(pathOf(id));
        await sync(folder);
      }),

    closeIdle: () => pool.closeIdle(),
    stats: () => pool.stats(),

    close: async () => {
      clearInterval(sweeper);
      await pool.close();
    },
  };
}

/** Flushes a file or a folder to the disk. Never for a tenant's file that may be open: see `removeFiles`. */
async function sync(path: string): Promise<void> {
  const file = await openFile(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Removes a database that no connection of this process has open: closing any descriptor of it would drop SQLite's locks. */
async function removeFiles(path: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm', '-journal']) await rm(path + suffix, { force: true });
}

const unavailable = (cause: unknown): Fault =>
  new Fault('tenant_unavailable', 'The data of this tenant cannot be reached at the moment.', { cause });

/** SQLite's codes for a file that is damaged or out of reach; extended codes begin with these. */
const DAMAGE = /^SQLITE_(CORRUPT|NOTADB|IOERR|CANTOPEN|FULL|READONLY|PERM|AUTH)/;
const isDamage = (error: unknown): boolean =>
  error instanceof Database.SqliteError && DAMAGE.test(error.code);

/** SQLite's errors as faults; what is not SQLite's passes unchanged. */
function translate(error: unknown): unknown {
  if (isDamage(error)) return unavailable(error);
  if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
    return new Fault('overloaded', 'The data of this tenant is locked by another program; try again.', {
      details: { retryAfterSeconds: 1 },
      cause: error,
    });
  }
  return error;
}
