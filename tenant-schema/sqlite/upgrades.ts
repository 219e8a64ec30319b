import type { Clock } from '../clock.ts';
import type { FileReport } from '../engine.ts';
import { Fault } from '../fault.ts';
import { isNoFaultOfTheFile, translate, translateJob, unavailable } from './errors.ts';
import type { Migrated } from './file-jobs.ts';
import { type FileWorker, JobEndedError } from './file-worker.ts';
import type { Migrations } from './migrator.ts';

export interface UpgradeParts {
  worker: FileWorker;
  migrations: Migrations;
  clock: Clock;
  pathOf(tenantId: string): string;
  /** Runs work on the tenant's file while nobody else has it. */
  exclusive<T>(tenantId: string, work: () => Promise<T>): Promise<T>;
  /** Copies the tenant's file as it is to a new path. */
  copy(tenantId: string, target: string): Promise<FileReport>;
  /** See `EngineOptions`. */
  keepBeforeRewrite?:
    | ((tenantId: string, copy: (target: string) => Promise<FileReport>) => Promise<void>)
    | undefined;
}

/** Brings files to the latest schema, in a process of their own and with nobody else in the file. */
export interface Upgrades {
  /** At once, whatever became of it before. */
  migrate(tenantId: string): Promise<{ from: number; to: number }>;
  /**
   * For whoever wants to use a file that is behind: all who ask at the same time wait for one migration.
   * @throws `tenant_unavailable`, or what else is told of it; the file is at its old version then
   */
  bringUp(tenantId: string): Promise<void>;
}

/** A file that could not be migrated is not tried anew for every request. */
const RETRY_MS = 10_000;

export function createUpgrades(parts: UpgradeParts): Upgrades {
  const { worker, migrations, clock } = parts;
  const underWay = new Map<string, Promise<void>>();
  const failures = new Map<string, { error: unknown; until: number }>();

  const migrate: Upgrades['migrate'] = (id) =>
    parts.exclusive(id, async () => {
      const attempt = (mayRewrite: boolean): Promise<Migrated> =>
        worker.run('migrateFile', { source: parts.pathOf(id), owner: id, migrations, mayRewrite }, null);
      const { keepBeforeRewrite } = parts;
      const first = await attempt(keepBeforeRewrite === undefined);
      if (!first.copyFirst || keepBeforeRewrite === undefined) return { from: first.from, to: first.to };
      await keepBeforeRewrite(id, (target) => parts.copy(id, target));
      const { from, to } = await attempt(true);
      return { from, to };
    });

  const tryOnce = async (id: string): Promise<void> => {
    const failure = failures.get(id);
    if (failure && clock.monotonic() < failure.until) throw failure.error;
    failures.delete(id);
    try {
      await migrate(id);
    } catch (error) {
      const fault = translate(translateJob(error));
      const told = fault instanceof Fault ? fault : unavailable(error);
      if (isLasting(error)) failures.set(id, { error: told, until: clock.monotonic() + RETRY_MS });
      throw told;
    }
  };

  return {
    migrate,
    bringUp(id) {
      const begun = underWay.get(id);
      if (begun) return begun;
      const trying = tryOnce(id).finally(() => underWay.delete(id));
      underWay.set(id, trying);
      return trying;
    },
  };
}

/** Whether the next attempt would most likely end the same way, and cost as much. */
const isLasting = (error: unknown): boolean =>
  error instanceof JobEndedError ? error.reason !== 'killed' : !isNoFaultOfTheFile(error);
