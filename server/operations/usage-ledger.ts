import { setTimeout as delay, setImmediate as nextTick } from 'node:timers/promises';
import type { ControlPlane, TenantUsageDay } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { UsageDay } from '../../tenant-schema/store.ts';
import { forEachBounded } from './bounded.ts';
import { reasonOf } from './fleet.ts';

export interface UsageRebuild {
  rebuilt: number;
  failed: { tenantId: string; reason: string }[];
}

export interface UsageRebuildReport {
  progress(done: number, total: number): Promise<void>;
  failed(tenant: { tenantId: string; reason: string }): Promise<void>;
}

/**
 * What all tenants use, by day, on its way into control.db. A turn's usage is committed in its tenant's file; here it
 * is only added up in memory and written every few seconds, for all tenants together. A process that is killed loses
 * those seconds of the roll-up, never of a tenant's file, and the next start makes up for them.
 */
export interface UsageLedger {
  /** Notes what a turn has used, in the tick of its commit. Writes nothing. */
  add(tenantId: string, usage: UsageDay): void;
  /** Resolves when all that was noted before is in control.db. */
  flush(): Promise<void>;
  /** Sets the tenant's rows to exactly what its file says, while turns run. @throws where the file cannot be used */
  rebuild(tenantId: string): Promise<void>;
  /** As `rebuild`, for work that shall not fail because of it: that is logged. */
  tryRebuild(tenantId: string): Promise<void>;
  /**
   * Runs work that puts a file with usage of its own in the tenant's place, and then sums that up. Where the process is
   * killed on the way, the next start does, whatever else was written meanwhile.
   */
  replacing<T>(tenantId: string, work: () => Promise<T>): Promise<T>;
  /**
   * Rebuilds one tenant, or all that are there, each by itself.
   * @param signal ends the run after the tenants under way
   * @throws `concurrency_limited` while another run is under way
   */
  rebuildAll(signal: AbortSignal, report: UsageRebuildReport): Promise<UsageRebuild>;
  /** @throws `concurrency_limited` where `rebuildAll` would, for who has to know before it begins. */
  requireNoRebuild(): void;
  /**
   * To be called before any turn is begun.
   * @param recover makes up, in the background, for what an earlier process has lost
   */
  start(recover: boolean): void;
  /**
   * Makes up, in the background, for what another process of the server has lost that has died: it had told all that it
   * knew of before `since`, in epoch milliseconds.
   */
  makeUpFor(since: number): void;
  /** Resolves when what `start` and `makeUpFor` have begun is done. */
  recovered(): Promise<void>;
  /** Ends what `start` has begun. Before the engine is closed. */
  stop(): Promise<void>;
  /** Writes what is noted. Once no turn can end any more. */
  close(): void;
}

export interface UsageLedgerParts {
  control: Pick<ControlPlane, 'addUsage' | 'replaceUsage' | 'usageState' | 'setUsageState'>;
  engine: Pick<TenantEngine, 'use' | 'list' | 'stat'>;
  clock: Clock;
  log: { warn(fields: object, message: string): void };
  /** Runs work while no other process of the server uses the tenant, and when all that they know of it is noted here. */
  closedElsewhere?<T>(tenantId: string, work: () => Promise<T>): Promise<T>;
  /** Resolves when all that the other processes know of is noted here. */
  gather?(): Promise<void>;
  /** The moment up to which they have told all, in epoch milliseconds. */
  toldUntil?(): number;
}

const FLUSH_MS = 5000;
/** Rows written in one transaction: some milliseconds of the event loop. */
const BATCH_ROWS = 200;
const PARALLEL = 2;
/** File times may be coarser than the clock's. */
const FILE_TIME_MS = 2000;

export function createUsageLedger(parts: UsageLedgerParts): UsageLedger {
  const { control, engine, clock, log } = parts;
  const { closedElsewhere = <T>(_: string, work: () => Promise<T>): Promise<T> => work() } = parts;
  /** By tenant, by day. */
  const noted = new Map<string, Map<string, UsageDay>>();
  let timer: NodeJS.Timeout | null = null;
  let rebuilding = false;
  /** Whether control.db lacks nothing but what is noted here. */
  let complete = false;
  /** Tenants that could not be summed up and should have been: the next start makes up for them. */
  let failures = 0;
  /** Tenants whose file is being replaced: as long as there are any, nothing later counts as complete. */
  let replacements = 0;
  let recovery: Promise<void> = Promise.resolve();
  /** How many of those are not over. */
  let recoveries = 0;
  const stopped = new AbortController();

  function nextBatch(): TenantUsageDay[] {
    const batch: TenantUsageDay[] = [];
    for (const [tenantId, days] of noted) {
      for (const usage of days.values()) {
        if (batch.length >= BATCH_ROWS) return batch;
        batch.push({ tenantId, usage });
      }
    }
    return batch;
  }

  /** Written and forgotten in one tick, so that nothing can be added between. */
  function writeBatch(): void {
    const batch = nextBatch();
    control.addUsage(batch);
    for (const { tenantId, usage } of batch) {
      const days = noted.get(tenantId);
      days?.delete(usage.day);
      if (days?.size === 0) noted.delete(tenantId);
    }
  }

  async function flush(): Promise<void> {
    const startedAt = clock.monotonic();
    while (noted.size > 0) {
      writeBatch();
      // What comes in faster than it is written must not keep this from ending.
      if (noted.size > 0) await nextTick();
      if (clock.monotonic() - startedAt > FLUSH_MS) break;
    }
    const completeUntil = Math.min(clock.now(), parts.toldUntil?.() ?? Infinity);
    if (complete && noted.size === 0 && replacements === 0)
      control.setUsageState({ complete: false, completeUntil });
  }

  function flushSoon(): void {
    // After the stop, what is noted waits for the close.
    if (timer !== null || stopped.signal.aborted) return;
    timer = setTimeout(() => {
      timer = null;
      flush()
        .catch((error: unknown) => log.warn({ err: error }, 'usage could not be written yet'))
        .finally(() => {
          if (noted.size > 0) flushSoon();
        });
    }, FLUSH_MS);
    timer.unref();
  }

  const rebuild: UsageLedger['rebuild'] = (tenantId) =>
    closedElsewhere(tenantId, () =>
      engine.use(tenantId, (store) => {
        // In one tick: whatever was committed is in the file's totals, and is not added a second time.
        control.replaceUsage(tenantId, store.usageByDay());
        noted.delete(tenantId);
      }),
    );

  const tryRebuild: UsageLedger['tryRebuild'] = (tenantId) =>
    rebuild(tenantId).catch((error: unknown) => {
      failures += 1;
      complete = false;
      log.warn({ err: error, tenant_id: tenantId }, 'the usage of a tenant could not be summed up');
    });

  const requireNoRebuild = (): void => {
    if (!rebuilding) return;
    throw new Fault('concurrency_limited', 'A rebuild of the usage is under way; wait for its end.');
  };

  /** Sums up the tenants whose file was written after the last moment up to which control.db lacks nothing. */
  async function recover(since: number): Promise<void> {
    const { signal } = stopped;
    for (const tenantId of await engine.list()) {
      if (signal.aborted) return;
      const { changedAt } = await engine.stat(tenantId).catch(() => ({ changedAt: 0 }));
      if (changedAt < since - FILE_TIME_MS) continue;
      const startedAt = clock.monotonic();
      await rebuild(tenantId).catch((error: unknown) => {
        // A file that is damaged has no new turns either, and its restore sums it up.
        if (!(error instanceof Fault && error.code === 'tenant_unavailable')) failures += 1;
        log.warn({ err: error, tenant_id: tenantId }, 'the usage of a tenant could not be summed up');
      });
      // After an upgrade this opens every file, and migrates it: the turns get half of the time at least.
      await delay(clock.monotonic() - startedAt, undefined, { signal }).catch(() => undefined);
    }
  }

  function beginRecovery(since: number): void {
    complete = false;
    recoveries += 1;
    recovery = recovery
      .then(() => recover(since))
      .catch((error: unknown) => {
        failures += 1;
        log.warn({ err: error }, 'the usage of tenants could not be summed up');
      })
      .finally(() => {
        recoveries -= 1;
        complete = recoveries === 0 && failures === 0 && !stopped.signal.aborted;
      });
  }

  return {
    async flush() {
      await parts.gather?.();
      await flush();
    },
    rebuild,
    tryRebuild,
    requireNoRebuild,

    async replacing(tenantId, work) {
      replacements += 1;
      try {
        const result = await work();
        await tryRebuild(tenantId);
        return result;
      } finally {
        replacements -= 1;
      }
    },

    add(tenantId, usage) {
      let days = noted.get(tenantId);
      if (!days) {
        days = new Map();
        noted.set(tenantId, days);
      }
      const day = days.get(usage.day);
      days.set(usage.day, day ? sumOf(day, usage) : usage);
      flushSoon();
    },

    async rebuildAll(signal, report) {
      requireNoRebuild();
      rebuilding = true;
      try {
        const result: UsageRebuild = { rebuilt: 0, failed: [] };
        const ids = (await engine.list()).sort();
        let done = 0;
        await report.progress(done, ids.length);
        await forEachBounded(ids, PARALLEL, signal, async (tenantId) => {
          const reason = await rebuild(tenantId).then(() => null, reasonOf);
          if (reason === null) result.rebuilt += 1;
          else {
            result.failed.push({ tenantId, reason });
            await report.failed({ tenantId, reason });
          }
          done += 1;
          await report.progress(done, ids.length);
        });
        return result;
      } finally {
        rebuilding = false;
      }
    },

    start(mayRecover) {
      const before = control.usageState();
      complete = before.complete;
      if (before.complete) control.setUsageState({ complete: false, completeUntil: clock.now() });
      else if (mayRecover) beginRecovery(before.completeUntil);
    },

    makeUpFor(since) {
      if (!stopped.signal.aborted) beginRecovery(since);
      // What this start cannot make up for any more, the next one does.
      else failures += 1;
      complete &&= failures === 0;
    },

    recovered: () => recovery,

    async stop() {
      stopped.abort();
      await recovery;
    },

    close() {
      if (timer) clearTimeout(timer);
      timer = null;
      while (noted.size > 0) writeBatch();
      if (complete && replacements === 0)
        control.setUsageState({ complete: true, completeUntil: clock.now() });
    },
  };
}

const sumOf = (a: UsageDay, b: UsageDay): UsageDay => ({
  day: a.day,
  turns: a.turns + b.turns,
  errors: a.errors + b.errors,
  usage: {
    inputTokens: a.usage.inputTokens + b.usage.inputTokens,
    outputTokens: a.usage.outputTokens + b.usage.outputTokens,
    cachedInputTokens: a.usage.cachedInputTokens + b.usage.cachedInputTokens,
    cacheWriteInputTokens: a.usage.cacheWriteInputTokens + b.usage.cacheWriteInputTokens,
    reasoningTokens: a.usage.reasoningTokens + b.usage.reasoningTokens,
  },
  costMicroUsd: a.costMicroUsd + b.costMicroUsd,
  unpricedTurns: a.unpricedTurns + b.unpricedTurns,
});
