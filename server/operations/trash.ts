import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Actor, ControlPlane, Tenant } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { removeFile } from '../../tenant-schema/remove-file.ts';
import type { Agent } from '../agent/agent.ts';
import type { Log } from '../telemetry/log.ts';
import { exists } from './backup-folder.ts';
import type { Backups } from './backups.ts';
import { syncFolder } from './disk.ts';
import type { Exports } from './exports.ts';
import type { InTurn } from './in-turn.ts';
import type { Quarantine } from './quarantine.ts';

/** The files of deleted tenants, as `<folder>/<tenant id>.db`, and the end of them. */
export interface Trash {
  /** Moves a deleted tenant's file here. What keeps it from that is logged, and `sweep` tries again. */
  moveIn(id: string): Promise<void>;
  /** Moves the file back to its place. Only in the tenant's turn. @throws `tenant_unavailable` where it is lost */
  moveOut(id: string): Promise<void>;
  /**
   * Removes files, backups and names of tenants whose purge has begun, and gives those that something kept from it:
   * one does not stop the others, and comes by again with the next `sweep`.
   */
  finishPurges(ids: readonly string[], actor: Actor): Promise<UnfinishedPurge[]>;
  /**
   * Goes on with what a killed process left half done, and purges what was deleted long enough ago, once it has been
   * seen to be for `SEEN_FOR_MS`. What fails is logged and tried again by the next sweep.
   */
  sweep(): Promise<void>;
  /** Where a file goes that cannot be read and that a restore replaces. */
  damagedPathOf(id: string, unique: string): string;
}

export interface UnfinishedPurge {
  id: string;
  error: unknown;
}

export interface TrashParts {
  control: ControlPlane;
  engine: TenantEngine;
  agent: Pick<Agent, 'paused'>;
  clock: Clock;
  log: Pick<Log, 'info' | 'warn' | 'error'>;
  inTurn: InTurn;
  backups: Backups;
  exports: Pick<Exports, 'abort'>;
  quarantine: Pick<Quarantine, 'forget'>;
  /** `trash/` in the data folder. */
  folder: string;
  /** A deleted tenant is purged after so long. */
  keepMs: number;
}

const SYSTEM: Actor = { id: 'system', name: 'system', requestId: null };
const PAGE = 1000;
const HOUR_MS = 60 * 60 * 1000;
/**
 * What a clock that jumps ahead makes look expired is not purged before somebody can set it right: so long, as time
 * passes and not as the clock shows it, this process must have seen it expired.
 */
const SEEN_FOR_MS = 6 * HOUR_MS;

export function createTrash(parts: TrashParts): Trash {
  const { control, engine, inTurn, log, folder } = parts;
  const pathOf = (id: string): string => join(folder, `${id}.db`);
  const damagedPathOf = (id: string, unique: string): string => join(folder, `${id}.${unique}.damaged`);
  const deleted = () => new Fault('tenant_unavailable', 'This tenant was deleted.');

  /** Tenants that have expired, by the moment at which this process saw it first, on the clock that never jumps. */
  let expiredSince = new Map<string, number>();
  const seenForMs = Math.min(SEEN_FOR_MS, parts.keepMs);

  const hasFile = (id: string): Promise<boolean> =>
    engine.stat(id).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
        throw error;
      },
    );

  const moveInNow = async (id: string): Promise<void> => {
    if (!isDeleted(control, id) || !(await hasFile(id))) return;
    await parts.agent.paused(id, deleted(), () => engine.moveOut(id, pathOf(id)));
  };
  const moveIn: Trash['moveIn'] = (id) =>
    inTurn(id, () => moveInNow(id)).catch((error: unknown) =>
      log.warn({ err: error, tenant_id: id }, 'the file of a deleted tenant is not in the trash yet'),
    );

  const removeFiles = async (id: string): Promise<void> => {
    await parts.exports.abort(id);
    await parts.agent.paused(id, deleted(), () => engine.destroy(id));
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (!entry.name.startsWith(id)) continue;
      const path = join(folder, entry.name);
      // Whatever a restore has parked, a folder too.
      await (entry.isDirectory() ? rm(path, { recursive: true, force: true }) : removeFile(path));
    }
    await syncFolder(folder);
    await parts.backups.removeAll(id, deleted());
  };

  const finishPurges: Trash['finishPurges'] = async (ids, actor) => {
    const unfinished: UnfinishedPurge[] = [];
    const eachOf = async (some: readonly string[], work: (id: string) => unknown): Promise<string[]> => {
      const done: string[] = [];
      for (const id of some) {
        try {
          await work(id);
          done.push(id);
        } catch (error) {
          unfinished.push({ id, error });
        }
      }
      return done;
    };
    const removed = await eachOf(ids, (id) => inTurn(id, () => removeFiles(id)));
    if (removed.length === 0) return unfinished;
    await parts.quarantine.forget(removed);
    const forgotten: string[] = [];
    await parts.backups.forget(removed, async () => {
      forgotten.push(...(await eachOf(removed, (id) => control.forgetTenant(id))));
      control.compact();
    });
    // The row last: as long as it is there, a start of the server knows that there is something to finish.
    await eachOf(forgotten, (id) => control.endPurge(id, actor));
    return unfinished;
  };

  const guarded = async (id: string, message: string, work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      log.error({ err: error, ...(id !== '' && { tenant_id: id }) }, message);
    }
  };

  return {
    moveIn,
    finishPurges,
    damagedPathOf,

    async moveOut(id) {
      if (await exists(pathOf(id))) await engine.moveIn(id, pathOf(id));
      else if (!(await hasFile(id))) {
        throw new Fault('tenant_unavailable', 'The file of this tenant is not in the trash.');
      }
    },

    async sweep() {
      const { clock, keepMs } = parts;
      const now = clock.monotonic();
      const expiredAt = clock.now() - keepMs;
      const before = expiredSince;
      expiredSince = new Map();
      for (const { id, deletedAt } of allDeleted(control)) {
        const isExpired = deletedAt !== undefined && deletedAt <= expiredAt;
        const since = before.get(id) ?? now;
        if (isExpired) expiredSince.set(id, since);
        if (isExpired && now - since >= seenForMs) {
          await guarded(id, 'a tenant in the trash could not be purged', () =>
            control.beginPurge(id, SYSTEM),
          );
        } else await moveIn(id);
      }
      const tenants = [...expiredSince.keys()].filter((id) => !before.has(id)).length;
      if (tenants > 0 && seenForMs > 0) {
        log.info({ tenants, in_hours: seenForMs / HOUR_MS }, 'expired tenants in the trash will be purged');
      }
      await guarded('', 'tenants could not be purged', async () => {
        for (const { id, error } of await finishPurges(control.listPurging(), SYSTEM)) {
          log.error({ err: error, tenant_id: id }, 'a tenant could not be purged');
        }
      });
    },
  };
}

function isDeleted(control: ControlPlane, id: string): boolean {
  try {
    return control.getDeletedTenant(id).status === 'deleted';
  } catch (error) {
    if (error instanceof Fault && error.code === 'not_found') return false;
    throw error;
  }
}

function* allDeleted(control: ControlPlane): Generator<Tenant> {
  let cursor: string | null = null;
  do {
    const page: { data: Tenant[]; nextCursor: string | null } = control.listTenants(
      { status: 'deleted' },
      { limit: PAGE, cursor },
    );
    yield* page.data;
    cursor = page.nextCursor;
  } while (cursor !== null);
}
