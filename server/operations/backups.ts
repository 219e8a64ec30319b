import { rename, rm } from 'node:fs/promises';
import type { Actor, ControlCopy, ControlPlane } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { FileReport, TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault, notFound } from '../../tenant-schema/fault.ts';
import { type IdMaker, isId } from '../../tenant-schema/ids.ts';
import { idBound, pageOf } from '../../tenant-schema/page.ts';
import { JobEndedError } from '../../tenant-schema/sqlite/file-worker.ts';
import type { Listing, Page } from '../../tenant-schema/store.ts';
import { type Backup, createBackupFolder, damagedBackup, type Hold } from './backup-folder.ts';
import { type Disk, filling, syncFolder } from './disk.ts';
import { isLive } from './doctor.ts';
import type { InTurn } from './in-turn.ts';
import { expired, type Retention } from './retention.ts';

/** A stored backup and where it lies. The file is never changed, only removed. */
export interface StoredBackup extends Backup {
  path: string;
}

export interface Backups {
  /** Makes one of a tenant that is there, whole and checked when this resolves. A second caller waits. */
  create(tenantId: string, trigger: 'manual' | 'schedule', actor: Actor): Promise<Backup>;
  /** Newest first. @throws `not_found` for a tenant that is not there. */
  list(tenantId: string, page: Page): Promise<Listing<Backup>>;
  /**
   * @throws `not_found` for a tenant or a backup that is not there, or that is another tenant's; `invalid_database` where
   *   something is missing of the file
   */
  get(tenantId: string, backupId: string): Promise<StoredBackup>;
  /** As `get`, for whoever reads the file for long, and releases it when that is over. */
  open(tenantId: string, backupId: string): Promise<StoredBackup & Hold>;
  /** The newest backup, whoever asked for it, tenant deleted or not. */
  latest(tenantId: string): Promise<Backup | null>;
  /** Copies control.db, whole and checked when this resolves. */
  createOfControl(actor: Actor): Promise<Backup>;
  /** As `createOfControl`, for the schedule; gives null where the latest copy holds the same. */
  createOfControlIfChanged(actor: Actor): Promise<Backup | null>;
  /** The copies of control.db, newest first. */
  listOfControl(page: Page): Promise<Listing<Backup>>;
  /**
   * Takes the purged tenants out of every copy of control.db; may be done again where it was cut short.
   * @param forgetThem takes them out of control.db itself, before another copy of it can be begun
   */
  forget(tenantIds: readonly string[], forgetThem: () => Promise<void>): Promise<void>;

  /** A place for a backup that somebody else makes, and what makes it one. */
  reserve(
    tenantId: string,
  ): Promise<{ id: string; path: string; publish(report: FileReport): Promise<void> }>;
  /**
   * Makes a backup of what `copy` puts at a path, before the tenant's file is migrated: killed after that, the file is
   * as it was or there is a backup of it. It stays where the migration fails, and serves the next one as long as the
   * file does not change. Does not wait for the tenant's turn, in which somebody may wait for this migration. A file
   * that is not a tenant's has no place for backups: none is made.
   */
  keepBeforeMigration(tenantId: string, copy: (target: string) => Promise<FileReport>): Promise<void>;
  /** Removes all backups of a tenant for good. Whoever reads one gets no more of it, for this reason. */
  removeAll(tenantId: string, reason: Error): Promise<void>;
}

export interface BackupParts {
  control: ControlPlane;
  engine: TenantEngine;
  clock: Clock;
  ids: IdMaker;
  disk: Disk;
  inTurn: InTurn;
  log: { error(fields: object, message: string): void };
  /** `backups/` in the data folder. */
  folder: string;
  retention: Retention;
}

/** The folder of control.db's copies, among those of the tenants, which are named by ids. */
const CONTROL = 'control';

export function createBackups(parts: BackupParts): Backups {
  const { control, engine, clock, ids, disk, inTurn, log } = parts;
  const stored = createBackupFolder(parts.folder);

  /** @param made the backup that was made just now; where the clock was set back, it is not the newest */
  const applyRetention = async (owner: string, made: string): Promise<void> => {
    const all = await stored.readAll(owner, await stored.idsOf(owner));
    for (const { id } of expired(all, parts.retention, clock.now())) {
      if (id !== made) await stored.remove(owner, id);
    }
  };

  /** For a backup that is a part of other work, which shall not fail because an old one cannot be removed. */
  const tryRetention = (owner: string, made: string): Promise<void> =>
    applyRetention(owner, made).catch((error: unknown) =>
      log.error({ err: error, tenant_id: owner }, 'old backups of a tenant could not be removed'),
    );

  /** As `publish` of the folder, for a file that is of no use where it does not become a backup. */
  const publishNew: typeof stored.publish = async (owner, tenant, backup, report) => {
    try {
      await filling(() => stored.publish(owner, tenant, backup, report));
    } catch (error) {
      // What cannot be removed now is by the next backup.
      await stored.remove(owner, backup.id).catch(() => undefined);
      throw error;
    }
  };

  /** Enters a new backup in the audit table; where that takes no row, there is no backup either. */
  const record = async (
    owner: string,
    { id: targetId, trigger }: Pick<Backup, 'id' | 'trigger'>,
    { sha256, sizeBytes }: Pick<FileReport, 'sha256' | 'sizeBytes'>,
    actor: Actor,
  ): Promise<void> => {
    const tenantId = owner === CONTROL ? null : owner;
    const changes = { trigger, sha256, size_bytes: sizeBytes };
    try {
      control.recordFileEvent({ action: 'backup.create', tenantId, targetId, changes }, actor);
    } catch (error) {
      await stored.remove(owner, targetId);
      throw error;
    }
  };

  /** A copy of control.db that cannot be rewritten would keep what it holds of the tenants for ever. */
  const removeUnfit = async (id: string, error: unknown): Promise<void> => {
    log.error({ err: error, backup_id: id }, 'a copy of control.db is damaged and was removed');
    await stored.remove(CONTROL, id);
    await rm(`${stored.databaseOf(CONTROL, id)}.tmp`, { force: true });
  };

  const create: Backups['create'] = async (tenantId, trigger, actor) => {
    // Before the turn in the queue: whoever may not know of the tenant does not wait for it.
    control.getTenant(tenantId);
    return inTurn(tenantId, async () => {
      const { id: owner, name } = control.getTenant(tenantId);
      // Closed, the file has one time of its last change, which no later checkpoint moves: it tells exactly whether
      // anything has changed since this backup, without a comparison of clocks.
      await engine.quiesce(owner);
      const { changedAt: sourceChangedAt, sizeBytes } = await engine.stat(owner).catch(() => {
        // A file that is not there, or cannot be used, has its own answer below.
        return { changedAt: null, sizeBytes: 0 };
      });
      await stored.prepare(owner);
      const created = { id: ids(), createdAt: clock.now(), trigger, sourceChangedAt };
      const report = await disk.reserving(sizeBytes, () =>
        filling(() => engine.snapshot(owner, stored.databaseOf(owner, created.id))),
      );
      await publishNew(owner, { id: owner, name }, created, report);
      await record(owner, created, report, actor);
      await applyRetention(owner, created.id);
      return { contentSha256: null, ...created, ...report };
    });
  };

  const listOf = async (owner: string, page: Page): Promise<Listing<Backup>> => {
    const before = idBound(page.cursor);
    const wanted = (await stored.idsOf(owner)).filter((id) => id < before).slice(0, page.limit + 1);
    return pageOf(await stored.readAll(owner, wanted), page.limit, ({ id }) => id);
  };

  /** @returns null for a copy that is not wanted, of which nothing is left then */
  const copyControl = (
    trigger: 'manual' | 'schedule',
    actor: Actor,
    isWanted: (copy: ControlCopy, latest: Backup | null) => boolean,
  ): Promise<Backup | null> =>
    inTurn(CONTROL, async () => {
      await stored.prepare(CONTROL);
      const latest = await stored.latest(CONTROL);
      const started = { id: ids(), createdAt: clock.now(), trigger, sourceChangedAt: null };
      const path = stored.databaseOf(CONTROL, started.id);
      // By hand, the newest file is taken for the latest copy: it has its name when it is whole.
      const unfinished = `${path}.tmp`;
      const keepIfWanted = async (): Promise<ControlCopy | null> => {
        const copy = await control.snapshot(unfinished);
        if (!isWanted(copy, latest)) return null;
        await rename(unfinished, path);
        await syncFolder(stored.folderOf(CONTROL));
        return copy;
      };
      const report = await disk
        // As large as the one before; how large the first will be, nobody knows.
        .reserving(latest?.sizeBytes ?? 1, () => filling(keepIfWanted))
        .finally(() => rm(unfinished, { force: true }));
      if (!report) return null;
      const created = { ...started, contentSha256: report.contentSha256 };
      await publishNew(CONTROL, null, created, report);
      await record(CONTROL, created, report, actor);
      await applyRetention(CONTROL, created.id);
      return { ...created, ...report };
    });

  /** Makes copies of control.db anew, each without these tenants. */
  const rewriteWithout = (tenantIds: readonly string[], copies: readonly string[]): Promise<void> =>
    control.copyWithout(tenantIds, async (copy) => {
      for (const id of copies) {
        try {
          const backup = await stored.read(CONTROL, id);
          if (!backup) throw new Error('Its manifest cannot be read.');
          const path = stored.databaseOf(CONTROL, id);
          const without = `${path}.tmp`;
          await rm(without, { force: true });
          const report = await filling(() => copy(path, without));
          // Between the two the manifest is another file's; the purge is not at its end yet and comes by again.
          await rename(without, path);
          await stored.publish(CONTROL, null, { ...backup, contentSha256: null }, report);
        } catch (error) {
          // Not the copy's fault; the purge comes by again.
          if (isPassing(error)) throw error;
          await removeUnfit(id, error);
        }
      }
    });

  const get: Backups['get'] = async (tenantId, backupId) => {
    const { id: owner } = control.getTenant(tenantId);
    const backup = isId(backupId) ? await stored.read(owner, backupId) : null;
    const sizeBytes = backup && (await stored.bytesOf(owner, backupId));
    if (!backup || sizeBytes === null) throw notFound();
    if (sizeBytes !== backup.sizeBytes) throw damagedBackup();
    return { ...backup, path: stored.databaseOf(owner, backupId) };
  };

  return {
    create,
    latest: stored.latest,

    async list(tenantId, page) {
      const { id: owner } = control.getTenant(tenantId);
      return listOf(owner, page);
    },

    get,
    async open(tenantId, backupId) {
      // First, so that who removes it from now on knows of it.
      const held = stored.hold(tenantId, backupId);
      try {
        const backup = await get(tenantId, backupId);
        held.signal.throwIfAborted();
        return { ...backup, ...held };
      } catch (error) {
        held.release();
        throw error;
      }
    },

    async createOfControl(actor) {
      const made = await copyControl('manual', actor, () => true);
      if (!made) throw new Error('A copy that is wanted in any case was not kept.');
      return made;
    },
    createOfControlIfChanged: (actor) =>
      copyControl('schedule', actor, (copy, latest) => copy.contentSha256 !== latest?.contentSha256),
    listOfControl: (page) => listOf(CONTROL, page),

    forget: (tenantIds, forgetThem) =>
      inTurn(CONTROL, async () => {
        // What a crash has left there names them as well.
        await stored.prepare(CONTROL);
        const copies = await stored.idsOf(CONTROL);
        if (copies.length > 0) await rewriteWithout(tenantIds, copies);
        await forgetThem();
      }),

    async reserve(tenantId) {
      const { id: owner, name } = control.getTenant(tenantId);
      await stored.prepare(owner);
      const created = {
        id: ids(),
        createdAt: clock.now(),
        trigger: 'restore',
        sourceChangedAt: null,
      } as const;
      return {
        id: created.id,
        path: stored.databaseOf(owner, created.id),
        async publish(report) {
          await publishNew(owner, { id: owner, name }, created, report);
          // After the work that this is a part of, and that may be a restore of the very backup that is to go.
          void inTurn(owner, () => tryRetention(owner, created.id));
        },
      };
    },

    async keepBeforeMigration(tenantId, copy) {
      if (!isLive(control, tenantId)) return;
      const { id: owner, name } = control.getTenant(tenantId);
      const { changedAt, sizeBytes } = await engine.stat(owner);
      const earlier = await stored.readAll(owner, await stored.idsOf(owner));
      // Of a migration that failed: one more at each attempt would drive out the backups of other times.
      const isKept = ({ trigger, sourceChangedAt }: Backup) =>
        trigger === 'migration' && sourceChangedAt === changedAt;
      if (earlier.some(isKept)) return;
      const created = {
        id: ids(),
        createdAt: clock.now(),
        trigger: 'migration',
        sourceChangedAt: changedAt,
      } as const;
      await stored.outOfTurn(owner, created.id, async () => {
        const report = await disk.reserving(sizeBytes, () =>
          filling(() => copy(stored.databaseOf(owner, created.id))),
        );
        await publishNew(owner, { id: owner, name }, created, report);
      });
      void inTurn(owner, () => tryRetention(owner, created.id));
    },

    async removeAll(tenantId, reason) {
      await stored.removeAll(tenantId, reason);
      await syncFolder(parts.folder);
    },
  };
}

/** Whether to rewrite a copy failed for a reason that may be gone the next time, other than the copy itself. */
const isPassing = (error: unknown): boolean => {
  if (error instanceof Fault) return true;
  if (error instanceof JobEndedError) return error.reason !== 'crash';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^SQLITE_(BUSY|LOCKED|FULL|NOMEM)|^E(?!NOENT)/.test(code);
};
