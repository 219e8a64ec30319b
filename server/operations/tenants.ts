import { join } from 'node:path';
import type {
  Actor,
  ControlPlane,
  IssuedKey,
  NewTenant,
  Tenant,
  TenantOrigin,
  TenantPatch,
} from '../../control-plane/types.ts';
import type { FileReport, TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { sha256Of } from '../../tenant-schema/pieces.ts';
import { removeFile } from '../../tenant-schema/remove-file.ts';
import type { Agent } from '../agent/agent.ts';
import { damagedBackup } from './backup-folder.ts';
import type { Backups } from './backups.ts';
import { type Disk, filling } from './disk.ts';
import type { InTurn } from './in-turn.ts';
import type { Trash } from './trash.ts';
import type { UsageLedger } from './usage-ledger.ts';

/** A tenant that was just made, or is back: its only usable key is shown this once. */
export interface MadeTenant {
  tenant: Tenant;
  issued: IssuedKey;
}

/** A file on its way in. */
export interface IncomingFile {
  /** As far as the sender has said. */
  sizeBytes: number | null;
  /**
   * Writes the file to a new path.
   * @param progress told every few MiB, and at the end, how many bytes have come; what it throws ends it
   * @throws `body_too_large`, `client_closed_request`
   */
  writeTo(path: string, progress: (bytes: number) => Promise<void>): Promise<void>;
}

export interface Restored {
  tenant: Tenant;
  /** The backup that holds what was there before; null where nothing that can be read was. */
  keptBackupId: string | null;
}

/** What an operator does with tenants. Each is done or not begun, wherever the process is killed. */
export interface TenantOperations {
  create(tenant: NewTenant, actor: Actor): Promise<MadeTenant>;
  /** From the tenant's next request on. */
  update(id: string, patch: TenantPatch, actor: Actor): Promise<Tenant>;
  /** A new tenant with a copy of the data, the limits and the settings. */
  clone(sourceId: string, name: string, actor: Actor): Promise<MadeTenant>;
  /** A new tenant out of a file that nobody vouches for. @throws `invalid_database` with the reason */
  importFile(name: string, file: IncomingFile, actor: Actor): Promise<MadeTenant>;
  /** Puts a backup in the place of the data. Running turns are aborted and settled first. */
  restore(id: string, backupId: string, actor: Actor): Promise<Restored>;
  /** Kills the keys at once, aborts running turns, and moves the file to the trash. */
  delete(id: string, actor: Actor): Promise<void>;
  /** @throws `already_exists` for a tenant that is not deleted */
  undelete(id: string, actor: Actor): Promise<MadeTenant>;
  /** Removes a tenant, deleted or not: file, backups and names. */
  purge(id: string, actor: Actor): Promise<void>;
}

export interface TenantOperationsParts {
  control: ControlPlane;
  engine: TenantEngine;
  agent: Pick<Agent, 'paused'>;
  ids: IdMaker;
  log: { warn(fields: object, message: string): void };
  disk: Disk;
  inTurn: InTurn;
  backups: Backups;
  trash: Trash;
  usage: Pick<UsageLedger, 'tryRebuild' | 'replacing'>;
  /** For files on their way in. */
  tmpFolder: string;
}

/** Files on their way in at the same time: each fills the disk, and few are looked at at once. */
const UPLOADS_MAX = 4;
const UPLOAD_RETRY_SECONDS = 10;

export function createTenantOperations(parts: TenantOperationsParts): TenantOperations {
  const { control, engine, ids, disk, backups, trash, usage } = parts;
  let uploads = 0;

  /**
   * The file first, the row second: a file that no row names is nobody's tenant, a row without a file would be a
   * tenant that cannot be served. Killed between the two, a file is left that `doctor` lists.
   */
  const add = async (
    tenant: NewTenant,
    actor: Actor,
    origin: TenantOrigin,
    makeFile: (as: { id: string; name: string }) => Promise<unknown>,
  ): Promise<MadeTenant> => {
    const id = ids();
    const make = async (): Promise<MadeTenant> => {
      await filling(() => makeFile({ id, name: tenant.name }));
      try {
        return control.addTenant(id, tenant, actor, origin);
      } catch (error) {
        await engine.destroy(id);
        throw error;
      }
    };
    return origin.action === 'tenant.create' ? make() : usage.replacing(id, make);
  };

  return {
    create: (tenant, actor) => add(tenant, actor, { action: 'tenant.create' }, (as) => engine.create(as)),

    async update(id, patch, actor) {
      const before = control.getTenant(id);
      const after = control.updateTenant(id, patch, actor);
      const warn = (message: string) => (error: unknown) =>
        parts.log.warn({ err: error, tenant_id: id, request_id: actor.requestId }, message);
      if (patch.name !== undefined) {
        // The name in control.db is the one that counts; the file's copy is for a lost control.db.
        await engine
          .use(id, (store) => store.setTenantName(after.name))
          .catch(warn('file keeps old tenant name'));
      }
      if (after.limits.storage_bytes_max !== before.limits.storage_bytes_max) {
        // The limit of pages is set when a file is opened.
        await engine.quiesce(id).catch(warn('file keeps its old limit of pages until it is closed'));
      }
      return after;
    },

    async clone(sourceId, name, actor) {
      const { limits, settings } = control.getTenant(sourceId);
      return disk.reserving(await sizeOf(engine, sourceId), () =>
        add({ name, limits, settings }, actor, { action: 'tenant.clone', sourceId }, (as) =>
          engine.clone(sourceId, as),
        ),
      );
    },

    async importFile(name, file, actor) {
      if (uploads >= UPLOADS_MAX) {
        throw new Fault('concurrency_limited', 'Too many files are being imported at the moment.', {
          details: { retryAfterSeconds: UPLOAD_RETRY_SECONDS },
        });
      }
      uploads += 1;
      const path = join(parts.tmpFolder, `${ids()}.upload`);
      // The file, the private copy of it that is examined, and what is made of it; less what is there already.
      const need = (received: number) => 3 * Math.max(file.sizeBytes ?? 0, received) - received;
      try {
        return await disk.reserving(need(0), async (room) => {
          await filling(() => file.writeTo(path, (received) => room.resize(need(received))));
          return add({ name }, actor, { action: 'tenant.import' }, (as) => engine.importFile(path, as));
        });
      } finally {
        uploads -= 1;
        await removeFile(path);
      }
    },

    async restore(id, backupId, actor) {
      control.getTenant(id);
      return parts.inTurn(id, async () => {
        const tenant = control.getTenant(id);
        const backup = await backups.get(id, backupId);
        if ((await sha256Of(backup.path)) !== backup.sha256) throw damagedBackup();
        const record = (state: 'begun' | 'done', keptBackupId: string | null) =>
          control.recordFileEvent(
            {
              action: 'tenant.restore',
              tenantId: id,
              targetId: backupId,
              changes: { state, kept_backup_id: keptBackupId },
            },
            actor,
          );
        const reason = new Fault(
          'tenant_unavailable',
          'The data of this tenant is being replaced by a backup.',
        );
        const reserved = await backups.reserve(id);
        const idOf = (report: FileReport | null) => (report ? reserved.id : null);
        // What is kept of the present data, the copy of the backup that is examined, and what is made of it.
        const needed = (await sizeOf(engine, id)) + 2 * backup.sizeBytes;
        const exchange = () =>
          engine.replace(tenant, backup.path, reserved.path, {
            // Not removed: who knows what can be saved.
            parkAt: trash.damagedPathOf(id, ids()),
            // No turn is ended for a backup that turns out to be bad.
            during: (exchange) => parts.agent.paused(id, reason, exchange),
            // Before the new file takes its place the kept one has its manifest: killed at any point, what was there
            // is either still there or in a backup that exists. And no restore goes unrecorded.
            async onKept(report) {
              if (report) await reserved.publish(report);
              record('begun', idOf(report));
            },
          });
        const { kept } = await usage.replacing(id, () => disk.reserving(needed, () => filling(exchange)));
        try {
          record('done', idOf(kept));
        } catch (error) {
          // It is done, and that it was begun is recorded.
          parts.log.warn({ err: error, tenant_id: id }, 'the end of a restore could not be recorded');
        }
        return { tenant, keptBackupId: idOf(kept) };
      });
    },

    async delete(id, actor) {
      // The row first: the keys are dead at once, and a file that is still in its place when the process is killed
      // is moved by the next start. The other way round, a tenant would be there without its file.
      control.deleteTenant(id, actor);
      await trash.moveIn(id);
    },

    async undelete(id, actor) {
      if (isLive(control, id)) throw new Fault('already_exists', 'This tenant is not deleted.');
      control.getDeletedTenant(id);
      return parts.inTurn(id, async () => {
        control.getDeletedTenant(id);
        // The file first, for the same reason: a start that finds it with a deleted row puts it back.
        await filling(() => trash.moveOut(id));
        const made = control.undeleteTenant(id, actor);
        await usage.tryRebuild(id);
        return made;
      });
    },

    async purge(id, actor) {
      control.beginPurge(id, actor);
      const [unfinished] = await trash.finishPurges([id], actor);
      if (unfinished) throw unfinished.error;
    },
  };
}

function isLive(control: ControlPlane, id: string): boolean {
  try {
    control.getTenant(id);
    return true;
  } catch (error) {
    if (error instanceof Fault && error.code === 'not_found') return false;
    throw error;
  }
}

/** Zero for a file that cannot be looked at: whatever is wrong with it will be said by who opens it. */
const sizeOf = (engine: TenantEngine, id: string): Promise<number> =>
  engine.stat(id).then(
    ({ sizeBytes }) => sizeBytes,
    () => 0,
  );
