import type { Actor, ControlPlane } from '../../control-plane/types.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import type { Backups } from './backups.ts';
import { allTenants } from './doctor.ts';

/** Backups that nobody has to ask for. */
export interface BackupSchedule {
  /**
   * Backs up control.db and then each tenant whose data have changed since its last backup, one after the other. Who
   * has waited longest comes first, so that runs which are cut short starve nobody. What fails is logged and does not
   * keep the others from theirs. A run that is under way is joined, not doubled.
   */
  run(): Promise<BackupRun>;
  /** Runs every `everyMs` from now on. */
  start(): void;
  /** No further tenant is begun; resolves when the one under way is done. */
  stop(): Promise<void>;
}

export interface BackupRun {
  made: number;
  unchanged: number;
  failed: number;
}

export interface BackupScheduleParts {
  control: ControlPlane;
  engine: TenantEngine;
  backups: Backups;
  log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
  everyMs: number;
}

const SYSTEM: Actor = { id: 'system', name: 'system', requestId: null };
/** A run is spread over at most this part of the time until the next, */
const SPREAD = 0.5;
/** with at most this pause after each copy, so that the disk is never busy with copies alone. */
const PAUSE_MS_MAX = 250;
/** A run that is this soon after a start would be in the way of the start itself. */
const FIRST_RUN_MS_MAX = 60_000;

export function createBackupSchedule(parts: BackupScheduleParts): BackupSchedule {
  const { control, engine, backups, log } = parts;
  let stopped = false;
  let timer: NodeJS.Timeout | null = null;
  let endPause: (() => void) | null = null;
  let running: Promise<BackupRun> | null = null;

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const wait = setTimeout(resolve, ms);
      wait.unref();
      endPause = () => {
        clearTimeout(wait);
        resolve();
      };
    });

  /** Whether the tenant's data are what its last backup holds. */
  const isCovered = async (id: string): Promise<boolean> => {
    const last = await backups.latest(id);
    if (last?.sourceChangedAt == null) return false;
    // Closed first: what SQLite moves from the `-wal` at a close would look like a change.
    await engine.quiesce(id);
    return (await engine.stat(id)).changedAt === last.sourceChangedAt;
  };

  const backUpOne = async (id: string, result: BackupRun): Promise<boolean> => {
    try {
      if (await isCovered(id)) {
        result.unchanged += 1;
        return false;
      }
      await backups.create(id, 'schedule', SYSTEM);
      result.made += 1;
    } catch (error) {
      if (stopped || !isThere(control, id)) return false;
      result.failed += 1;
      log.error({ err: error, tenant_id: id }, 'a tenant could not be backed up');
    }
    return true;
  };

  /** Tenants by the age of their last backup, those that have none first. */
  const longestWithoutFirst = async (): Promise<string[]> => {
    const waiting: { id: string; since: number }[] = [];
    for (const { id } of allTenants(control, undefined)) {
      if (stopped) break;
      // A manifest that cannot be read is for the tenant's own turn to complain of.
      const last = await backups.latest(id).catch(() => null);
      waiting.push({ id, since: last?.createdAt ?? Number.NEGATIVE_INFINITY });
    }
    return waiting.sort((a, b) => (a.since < b.since ? -1 : a.since > b.since ? 1 : 0)).map(({ id }) => id);
  };

  const runNow = async (): Promise<BackupRun> => {
    const result: BackupRun = { made: 0, unchanged: 0, failed: 0 };
    const counts = control.countTenants();
    const pauseMs = Math.min((parts.everyMs * SPREAD) / (counts.active + counts.suspended + 1), PAUSE_MS_MAX);
    try {
      await backups.createOfControlIfChanged(SYSTEM);
    } catch (error) {
      if (!stopped) log.error({ err: error }, 'control.db could not be backed up');
    }
    for (const id of await longestWithoutFirst()) {
      if (stopped) return result;
      if (await backUpOne(id, result)) await pause(pauseMs);
    }
    if (result.made + result.failed > 0) log.info({ ...result }, 'scheduled backups done');
    return result;
  };

  const run: BackupSchedule['run'] = () => {
    running ??= runNow().finally(() => {
      running = null;
    });
    return running;
  };

  const runIn = (ms: number): void => {
    timer = setTimeout(async () => {
      await run().catch((error: unknown) => log.error({ err: error }, 'scheduled backups failed'));
      // Counted from the end: a run that takes longer than the interval is not followed by the next at once.
      if (!stopped) runIn(parts.everyMs);
    }, ms);
    timer.unref();
  };

  return {
    run,
    // Soon after a start, whatever the interval: a server that is restarted every day would never come to its turn.
    start: () => runIn(Math.min(parts.everyMs, FIRST_RUN_MS_MAX)),
    async stop() {
      stopped = true;
      if (timer) clearTimeout(timer);
      endPause?.();
      await running?.catch(() => undefined);
    },
  };
}

/** A tenant that was deleted while it waited is no failure. */
function isThere(control: ControlPlane, id: string): boolean {
  try {
    control.getTenant(id);
    return true;
  } catch {
    return false;
  }
}
