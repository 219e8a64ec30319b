import { setImmediate, setTimeout } from 'node:timers/promises';
import type { ControlPlane } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault, invalid } from '../../tenant-schema/fault.ts';
import type { PrunedLogs } from '../../tenant-schema/store.ts';
import type { Log } from '../telemetry/log.ts';
import { allTenants } from './doctor.ts';
import { reasonOf } from './fleet.ts';

export interface LogPruning {
  /** Null: every tenant. */
  tenantId: string | null;
  /** How many whole days before today are kept; null: as set. */
  days: number | null;
}

export interface PruneReport {
  /** `done` and `total` count tenants, `removed` rows. */
  progress(done: number, total: number, removed: number): Promise<void>;
  failed(tenant: { tenantId: string; reason: string }): Promise<void>;
}

export interface PrunedTenants {
  tenants: number;
  removed: number;
  failed: { tenantId: string; reason: string }[];
}

/** How long log rows are kept. What they summed to stays in the usage. */
export interface LogRetention {
  /** Whole days before today (UTC) that are kept. Null: all, and nothing is removed by itself. */
  readonly keepDays: number | null;
  /**
   * Tells that the tenant's file is in use. Once a day, what is kept no longer is then removed from it, a little at a
   * time, for as long as it is open: nothing is opened for that. Costs a look-up otherwise.
   */
  touched(tenantId: string): void;
  /**
   * What `prune` needs to know before it begins.
   * @throws `not_found` for an unknown tenant, `validation_failed` where nothing says how many days are kept,
   *   `concurrency_limited` while another run is under way
   */
  requirePrunable(pruning: LogPruning): void;
  /**
   * Removes what is kept no longer, now, one tenant after the other. Whose file cannot be used is listed.
   * @param signal ends the run after the step under way
   * @throws as `requirePrunable`
   */
  prune(pruning: LogPruning, signal: AbortSignal, report: PruneReport): Promise<PrunedTenants>;
  /** Ends what `touched` began; resolves when it is over. */
  stop(): Promise<void>;
  /** For tests: resolves when nothing that `touched` began is under way. */
  settled(): Promise<void>;
}

export interface LogRetentionParts extends Pick<LogRetention, 'keepDays'> {
  control: ControlPlane;
  engine: Pick<TenantEngine, 'run' | 'useIfOpen' | 'runIfOpen'>;
  clock: Clock;
  log: Pick<Log, 'info' | 'warn'>;
  /** Whether nobody else waits for this process, so that no pauses are needed. */
  isAlone: boolean;
}

const DAY_MS = 24 * 60 * 60 * 1000;
/** Some three milliseconds of work, in which nobody else uses the tenant. */
const ROWS_AT_A_TIME = 100;
/** Of the time, at most so much goes into this. */
const SHARE_OF_TIME = 0.1;

export function createLogRetention(parts: LogRetentionParts): LogRetention {
  const { control, engine, clock, log } = parts;
  const stopped = new AbortController();
  /** The day on which each tenant was last looked at. */
  const doneOn = new Map<string, number>();
  const waiting: string[] = [];
  let background: Promise<void> | null = null;
  let isPruning = false;

  const today = (): number => Math.floor(clock.now() / DAY_MS);

  /** Steps until nothing is left to do or `step` finds the file closed, and lets everybody else go first in between. */
  const inSteps = async (
    step: () => Promise<PrunedLogs | null>,
    signal: AbortSignal,
    removed: (rows: number) => void,
  ): Promise<'done' | 'interrupted'> => {
    while (!signal.aborted) {
      const startedAt = clock.monotonic();
      const result = await step();
      if (result === null) return 'interrupted';
      removed(result.removed);
      if (!result.isMore) return 'done';
      const pauseMs = parts.isAlone ? 0 : (clock.monotonic() - startedAt) * (1 / SHARE_OF_TIME - 1);
      // Ends early where the run does.
      if (pauseMs >= 1) await setTimeout(pauseMs, undefined, { signal }).catch(() => undefined);
      else await setImmediate();
    }
    return 'interrupted';
  };

  const inBackground = async (): Promise<void> => {
    for (let tenantId = waiting.shift(); tenantId !== undefined; tenantId = waiting.shift()) {
      const id = tenantId;
      const before = (today() - (parts.keepDays ?? 0)) * DAY_MS;
      let removed = 0;
      try {
        // Most have nothing, which is soon told.
        const hasSome = await engine.useIfOpen(id, (store) => store.hasLogsToPrune(before));
        if (hasSome === false) continue;
        const end = await inSteps(
          () => engine.runIfOpen(id, 'pruneLogs', before, ROWS_AT_A_TIME),
          stopped.signal,
          (rows) => {
            removed += rows;
          },
        );
        // The next turn takes it up again.
        if (end === 'interrupted') doneOn.delete(id);
      } catch (error) {
        log.warn({ err: error, tenant_id: id }, 'old log rows could not be removed');
      }
      if (removed > 0) log.info({ tenant_id: id, removed }, 'old log rows removed');
    }
  };

  const startBackground = (): void => {
    background ??= setImmediate()
      .then(inBackground)
      .finally(() => {
        background = null;
        // Who came after the last look at who waits.
        if (waiting.length > 0) startBackground();
      });
  };

  const requirePrunable: LogRetention['requirePrunable'] = ({ tenantId, days }) => {
    if (tenantId !== null) control.getTenant(tenantId);
    if (days === null && parts.keepDays === null) {
      throw invalid([{ path: 'days', message: 'must be given: no setting says how long logs are kept' }]);
    }
    if (isPruning) {
      throw new Fault('concurrency_limited', 'Logs are being pruned already; wait for its end.');
    }
  };

  const pruneAll: LogRetention['prune'] = async ({ tenantId, days }, signal, report) => {
    const before = (today() - (days ?? parts.keepDays ?? 0)) * DAY_MS;
    const ids = tenantId === null ? allTenants(control, undefined).map(({ id }) => id) : [tenantId];
    const result: PrunedTenants = { tenants: 0, removed: 0, failed: [] };
    await report.progress(0, ids.length, 0);
    for (const [index, id] of ids.entries()) {
      if (signal.aborted) break;
      try {
        const step = async (): Promise<PrunedLogs> => {
          await report.progress(index, ids.length, result.removed);
          return engine.run(id, 'pruneLogs', before, ROWS_AT_A_TIME);
        };
        const end = await inSteps(step, signal, (rows) => {
          result.removed += rows;
        });
        if (end === 'done') result.tenants += 1;
      } catch (error) {
        const failure = { tenantId: id, reason: reasonOf(error) };
        result.failed.push(failure);
        await report.failed(failure);
      }
    }
    await report.progress(result.tenants + result.failed.length, ids.length, result.removed);
    return result;
  };

  return {
    keepDays: parts.keepDays,

    touched(tenantId) {
      if (parts.keepDays === null || stopped.signal.aborted) return;
      const day = today();
      if (doneOn.get(tenantId) === day) return;
      doneOn.set(tenantId, day);
      waiting.push(tenantId);
      startBackground();
    },

    requirePrunable,

    async prune(pruning, signal, report) {
      requirePrunable(pruning);
      isPruning = true;
      try {
        return await pruneAll(pruning, signal, report);
      } finally {
        isPruning = false;
      }
    },

    async stop() {
      stopped.abort();
      waiting.length = 0;
      await background;
    },

    async settled() {
      while (background !== null) await background;
    },
  };
}
