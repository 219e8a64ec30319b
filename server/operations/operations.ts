import { join } from 'node:path';
import type { ControlPlane } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { EngineStats, TenantEngine } from '../../tenant-schema/engine.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import type { Agent } from '../agent/agent.ts';
import type { Log } from '../telemetry/log.ts';
import { type BackupSchedule, createBackupSchedule } from './backup-schedule.ts';
import { type Backups, createBackups } from './backups.ts';
import { type Disk, emptyFolder, filling } from './disk.ts';
import { createExports, type Exports } from './exports.ts';
import { createInTurn, type InTurn } from './in-turn.ts';
import { createQuarantine, type Quarantine } from './quarantine.ts';
import type { Retention } from './retention.ts';
import { createStats, type Stats } from './stats.ts';
import { createTenantOperations, type TenantOperations } from './tenants.ts';
import { createTrash, type Trash } from './trash.ts';
import type { UsageLedger } from './usage-ledger.ts';

/** What an operator does with tenants as files. Knows no HTTP. */
export interface Operations {
  tenants: TenantOperations;
  backups: Pick<Backups, 'create' | 'list' | 'open' | 'createOfControl' | 'listOfControl'>;
  exports: Exports;
  /** Brings one tenant's file to the latest schema; what it was is a backup then, where tables were rewritten. */
  migrate(tenantId: string): Promise<void>;
  /** What the engine does before a migration that rewrites tables, whoever asked for it. */
  keepBeforeMigration: Backups['keepBeforeMigration'];
  stats: Stats;
  quarantine: Quarantine;
  /** Runs what must not see work with the files of one tenant half done; by the tenant's id, or `control`. */
  inTurn: InTurn;
  /** For tests: what otherwise runs by itself, now and then. */
  background: { trash: Pick<Trash, 'sweep'>; schedule: Pick<BackupSchedule, 'run'> };
  /**
   * Finishes what an earlier process left half done; where there is upkeep, also removes unfinished files and purges
   * what has expired. Before anything else is done.
   */
  recover(): Promise<void>;
  /** From now on the trash is swept and ended sessions are removed every hour, and backups are made as set. */
  start(): void;
  stop(): Promise<void>;
}

export interface OperationsParts {
  control: ControlPlane;
  engine: TenantEngine;
  agent: Pick<Agent, 'paused'>;
  clock: Clock;
  ids: IdMaker;
  log: Pick<Log, 'info' | 'warn' | 'error'>;
  usage: Pick<UsageLedger, 'tryRebuild' | 'replacing'>;
  /** See `StatsParts`. */
  pool(): Promise<EngineStats>;
  dataDir: string;
  /** Null: nothing expires by itself. */
  upkeep: Upkeep | null;
  disk: Disk;
}

/** What is done by itself as time goes by. */
export interface Upkeep {
  trashKeepMs: number;
  /** Null: backups are made on demand only. */
  backupEveryMs: number | null;
  retention: Retention;
}

const NOTHING_EXPIRES: Upkeep = {
  trashKeepMs: Number.POSITIVE_INFINITY,
  backupEveryMs: null,
  retention: { newest: Number.POSITIVE_INFINITY, daily: 0, weekly: 0 },
};

const SWEEP_MS = 60 * 60 * 1000;
const DAY_MS = 24 * SWEEP_MS;

export function createOperations(parts: OperationsParts): Operations {
  const { control, engine, agent, clock, ids, log, disk, dataDir } = parts;
  const { trashKeepMs, backupEveryMs, retention } = parts.upkeep ?? NOTHING_EXPIRES;
  const inTurn = createInTurn();
  const tmpFolder = join(dataDir, 'tmp');
  const backups = createBackups({
    control,
    engine,
    clock,
    ids,
    disk,
    inTurn,
    log,
    folder: join(dataDir, 'backups'),
    retention,
  });
  const exports = createExports({ control, engine, clock, ids, disk, tmpFolder });
  const quarantine = createQuarantine(join(dataDir, 'quarantine.json'));
  const trash = createTrash({
    control,
    engine,
    agent,
    clock,
    log,
    inTurn,
    backups,
    exports,
    quarantine,
    folder: join(dataDir, 'trash'),
    keepMs: trashKeepMs,
  });
  const schedule = createBackupSchedule({
    control,
    engine,
    backups,
    log,
    everyMs: backupEveryMs ?? DAY_MS,
  });
  let sweeper: NodeJS.Timeout | null = null;
  let sweeping: Promise<void> = Promise.resolve();
  /** They are over whether their rows are there or not: a full disk is no reason not to start. */
  const removeSessions = (): void => {
    try {
      control.removeExpiredSessions();
    } catch (error) {
      log.warn({ err: error }, 'sessions that are over were not removed');
    }
  };
  const sweep = (): void => {
    sweeping = trash.sweep().catch((error: unknown) => log.error({ err: error }, 'the trash was not swept'));
    removeSessions();
  };

  return {
    tenants: createTenantOperations({
      control,
      engine,
      agent,
      ids,
      log,
      disk,
      inTurn,
      backups,
      trash,
      usage: parts.usage,
      tmpFolder,
    }),
    backups,
    exports,
    keepBeforeMigration: backups.keepBeforeMigration,
    migrate: (tenantId) =>
      inTurn(tenantId, async () => {
        await filling(() => engine.migrate(tenantId));
      }),
    quarantine,
    stats: createStats({ control, engine, pool: parts.pool, clock, disk, dataDir }),
    inTurn,
    background: { trash, schedule },

    async recover() {
      if (parts.upkeep) await emptyFolder(tmpFolder);
      await trash.sweep();
      if (parts.upkeep) removeSessions();
    },
    start() {
      sweeper = setInterval(sweep, SWEEP_MS);
      sweeper.unref();
      if (backupEveryMs !== null) schedule.start();
    },
    async stop() {
      if (sweeper) clearInterval(sweeper);
      await Promise.all([schedule.stop(), sweeping]);
    },
  };
}
