import { lstatSync } from 'node:fs';
import type Database from 'better-sqlite3';
import type { LongVerb } from '../engine.ts';
import type { TenantStore, UsageDay } from '../store.ts';
import type { CloseAside } from './close-aside.ts';
import { type CloseResult, closeDatabase, openDatabase } from './connection.ts';
import type { EngineOptions } from './engine.ts';
import { type ContextParts, createContext } from './handle.ts';
import { requireLatest, requireOurs } from './known-schema.ts';
import type { Migrations } from './migrator.ts';
import { standsAlone } from './paths.ts';
import { orLocked, SHARED_BUSY_MS } from './patience.ts';
import type { Pooled } from './pool.ts';
import { isLeftUndone, type LongResult, type LongThreads, runningIn } from './run-aside.ts';
import { StatementRecipes } from './statements.ts';
import { createStore, type SqliteTenantStore } from './store.ts';
import { type SyncFile, WalSync, type WalSyncError } from './wal-sync.ts';

export interface OpenParts
  extends Pick<ContextParts, 'clock' | 'ids' | 'runId' | 'isLiveRun'>,
    Pick<EngineOptions, 'owner' | 'closedElsewhere'> {
  pathOf(tenantId: string): string;
  migrations: Migrations;
  /** See `EngineOptions`. */
  durability: 'full' | 'normal';
  syncFile?: SyncFile | undefined;
  log: { warn(fields: object, message: string): void };
  storageBytesMaxOf?: ((tenantId: string) => number | null) | undefined;
  /** Whether other processes of the server use the file too. */
  isShared: boolean;
  /** Work beside the event loop. Default: all is done on it. */
  threads?:
    | {
        closeAside: CloseAside;
        /** Verbs that may take long. */
        long: LongThreads;
      }
    | undefined;
  /** Must not throw. */
  onUsage(tenantId: string, usage: UsageDay): void;
}

/** A tenant's open file. */
export interface OpenTenant extends Pooled {
  /**
   * Runs `work`. What it gives back, or sees, is on the disk when this is through, but for turns that have only begun.
   * @throws WalSyncError where that is not certain any more; the file must be closed then. LockedError where another
   *   process of the server has it locked and nothing was written
   */
  use<T>(work: (store: SqliteTenantStore) => T | Promise<T>): T | Promise<T>;
  /** As `use`, for one verb, beside the event loop where there is a thread for it. */
  run<V extends LongVerb>(verb: V, args: Parameters<TenantStore[V]>): LongResult<V> | Promise<LongResult<V>>;
}

/** Opens tenants' files for the pool. */
export function createOpener(parts: OpenParts): (tenantId: string) => OpenTenant {
  const { log, threads } = parts;
  /**
   * Tenants of whose `-wal` a sync has failed. The system takes what it could not write for written, and the next sync
   * for a success. All is in the main file by a new write, and that one synced, before such a file is used again.
   */
  const distrusted = new Set<string>();
  const recipes = new StatementRecipes();

  const closed = (id: string, { checkpointed, error }: CloseResult): void => {
    if (checkpointed) distrusted.delete(id);
    if (parts.owner) {
      if (!standsAlone(parts.pathOf(id))) parts.owner.closedWithRest(id);
    } else if (!checkpointed && !parts.closedElsewhere) {
      log.warn({ tenant_id: id, err: error }, 'tenant file closed without a full checkpoint; its -wal stays');
    }
  };

  return (id) => {
    const path = parts.pathOf(id);
    // SQLite follows links; a file of ours is never one.
    const found = lstatSync(path);
    if (!found.isFile()) throw new Error(`${path} is not a regular file.`);
    const file = { path, device: found.dev, inode: found.ino };
    const walPath = `${path}-wal`;
    const db = openDatabase(path, {
      mustExist: true,
      synchronous: 'NORMAL',
      accept(file) {
        requireOurs(file, parts.migrations);
        requireLatest(file, parts.migrations);
      },
    });
    let wal: WalSync | null = null;
    try {
      const owner = db.prepare('SELECT id FROM tenant').pluck().get();
      if (owner !== id) throw new Error(`${path} belongs to tenant ${String(owner)}.`);
      if (distrusted.has(id)) {
        requireCheckpoint(db);
        distrusted.delete(id);
      }
      const onFailure = (error: WalSyncError): void => {
        distrusted.add(id);
        log.warn({ tenant_id: id, err: error }, 'tenant file closed: the disk does not take what is written');
      };
      if (parts.durability === 'full') {
        wal = new WalSync(walPath, { onFailure, syncFile: parts.syncFile });
      }
      const sync = wal;
      const context = createContext(db, {
        ...parts,
        walPath,
        recipes,
        storageBytesMax: parts.storageBytesMaxOf?.(id) ?? null,
        onUsage: (usage) => parts.onUsage(id, usage),
        ...(sync && { onPromise: () => sync.promise() }),
      });
      const store = createStore(context);
      if (parts.isShared) db.pragma(`busy_timeout = ${SHARED_BUSY_MS}`);
      store.closeDeadTurns();
      const hasForeign = sync && parts.isShared ? foreignCommits(db) : () => false;
      /** @param mayHaveRead false where it gives out nothing but what it has written, or promised */
      const settle = (mayHaveRead: boolean): Promise<void> | null => {
        if (mayHaveRead && hasForeign()) sync?.promise();
        return sync?.settled() ?? null;
      };
      const aside = threads && runningIn(threads.long, file, parts.clock);
      const tenant: OpenTenant = {
        use(work) {
          if (aside?.writing) return aside.writing.then(() => tenant.use(work));
          sync?.requireTrust();
          const before = context.commits();
          const told = (error: unknown): unknown =>
            parts.isShared ? orLocked(error, context.commits() !== before) : error;
          const result = attempt(() => work(store), told);
          if (result instanceof Promise) return settleAfter(result, () => settle(true));
          const settled = settle(context.commits() === before);
          return settled ? settled.then(() => result) : result;
        },
        run(verb, args) {
          const here = () => tenant.use((open) => Reflect.apply(open[verb], open, args));
          if (!aside) return here();
          sync?.requireTrust();
          return settleAfter(aside.run(verb, args), () => settle(true)).catch((error: unknown) => {
            if (isLeftUndone(error)) return here();
            throw parts.isShared ? orLocked(error, false) : error;
          });
        },
        close() {
          sync?.close();
          closed(id, closeDatabase(db));
        },
        closeAside:
          threads &&
          (async () => {
            sync?.close();
            closed(id, await threads.closeAside(file, db));
          }),
      };
      return tenant;
    } catch (error) {
      wal?.close();
      closed(id, closeDatabase(db));
      throw error;
    }
  };
}

/** Runs work, and says what it fails with, at once or later. */
function attempt<T>(work: () => T | Promise<T>, told: (error: unknown) => unknown): T | Promise<T> {
  try {
    const result = work();
    if (!(result instanceof Promise)) return result;
    return result.catch((error: unknown) => {
      throw told(error);
    });
  } catch (error) {
    throw told(error);
  }
}

async function settleAfter<T>(work: Promise<T>, settle: () => Promise<void> | null): Promise<T> {
  const result = await work;
  await settle();
  return result;
}

/**
 * Tells whether other processes have committed since it was last asked. What they have may not be on the disk yet: SQLite
 * shows a commit before their sync.
 */
function foreignCommits(db: Database.Database): () => boolean {
  const version = db.prepare<[], number>('PRAGMA data_version').pluck();
  let seen: number | undefined;
  return () => {
    const last = seen;
    seen = version.get();
    return seen !== last;
  };
}

function requireCheckpoint(db: Database.Database): void {
  const row = db.prepare<[], { busy: number }>('PRAGMA wal_checkpoint(TRUNCATE)').get();
  if (row?.busy !== 0) throw new Error('What is in its -wal could not be moved to the main file.');
}
