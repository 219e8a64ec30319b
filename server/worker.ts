import { openControlPlane } from '../control-plane/control-plane.ts';
import { createMasterKey, parseMasterKey } from '../control-plane/master-key.ts';
import type { ControlPlane } from '../control-plane/types.ts';
import { type Clock, systemClock } from '../tenant-schema/clock.ts';
import { Fault } from '../tenant-schema/fault.ts';
import { createIds } from '../tenant-schema/ids.ts';
import { openTenantEngine } from '../tenant-schema/sqlite/engine.ts';
import type { UsageDay } from '../tenant-schema/store.ts';
import { closeHttp, createAgentOf, FLUSH_MS, storageBytesMaxOf, within } from './common.ts';
import type { Config } from './config.ts';
import { proofOf, showInUse } from './data-folder.ts';
import type { Lifecycle, Services } from './endpoints/endpoint.ts';
import { workerEndpoints } from './endpoints/index.ts';
import { createApp } from './http/app.ts';
import { createForward, servesGivenConnections } from './http/forward.ts';
import { createListener } from './http/listener.ts';
import { createLogRetention } from './operations/log-retention.ts';
import { createPricing } from './pricing/pricing.ts';
import { createTransport } from './providers/transport.ts';
import { createLog } from './telemetry/log.ts';
import { watchLoopDelay } from './telemetry/loop-delay.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { type Answers, type Channel, openChannel } from './workers/channel.ts';
import { createGivenUp } from './workers/given-up.ts';
import type { ToFirst, ToWorker, WorkerStart } from './workers/questions.ts';

// A worker: turns, and what else is read and written in a tenant's own file. The first process has started it, gives it
// connections, answers all that is not for it, and tells it when a tenant's file must be let go of.

/** How often the first process is told what turns have used. */
const TELL_MS = 250;
/** How often the end of a turn that could not be written is tried again: other workers take its conversation for busy. */
const SETTLE_MS = 1_000;

/** Where the first process fails at what it is told, its own log says so. */
const unheard = (): void => {};

/** What a worker must not touch. */
const elsewhere = <T extends object>(name: string): T =>
  new Proxy({} as T, {
    get() {
      throw new Error(`A worker has no ${name}: that is for the first process.`);
    },
  });

/** How it does what the first process asks, and takes its connections. */
type Work = Omit<Answers<ToWorker>, 'start'> & { take: ReturnType<typeof servesGivenConnections> };

/** What a test may put in the place of the real thing. */
export interface WorkerOverrides {
  clockOf?(config: Config): Clock;
}

async function startWork(
  start: WorkerStart,
  first: Channel<ToFirst>,
  overrides: WorkerOverrides,
): Promise<Work> {
  const config = start.config as Config;
  const clock = overrides.clockOf?.(config) ?? systemClock;
  const log = createLog({ level: config.logLevel });
  const ids = createIds(clock);
  const lifecycle: Lifecycle = { state: 'starting' };
  showInUse(config.dataDir);
  const control: ControlPlane = openControlPlane({
    path: `${config.dataDir}/control.db`,
    clock,
    ids,
    sessionLimits: config.sessionLimits,
  });

  let liveRuns: ReadonlySet<string> = new Set([start.runId]);
  let noted: [tenantId: string, usage: UsageDay][] = [];
  const tell = async (): Promise<void> => {
    const usage = noted;
    noted = [];
    await first.ask('note', { usage, until: clock.now() });
  };
  const telling = setInterval(() => void tell().catch(unheard), TELL_MS);

  const engine = openTenantEngine({
    folder: `${config.dataDir}/tenants`,
    clock,
    ids,
    runId: start.runId,
    isLiveRun: (runId) => liveRuns.has(runId),
    openMax: config.openTenantsMax,
    idleMs: config.tenantIdleMs,
    usesThreads: true,
    durability: config.durability,
    storageBytesMaxOf: (tenantId) => storageBytesMaxOf(control, tenantId),
    onUsage(tenantId, used) {
      noted.push([tenantId, used]);
      logRetention.touched(tenantId);
    },
    owner: {
      async bringUp(tenantId) {
        await first.ask('bringUp', { tenantId });
      },
      closedWithRest: (tenantId) => void first.ask('closedWithRest', { tenantId }).catch(unheard),
    },
    log,
  });
  const logRetention = createLogRetention({
    control,
    engine,
    clock,
    log,
    keepDays: config.logKeepDays,
    isAlone: false,
  });
  const transport = createTransport({
    connectTimeoutMs: config.upstreamConnectMs,
    idleTimeoutMs: config.upstreamIdleMs,
  });
  const loopDelay = watchLoopDelay(config.loopDelayMsMax, clock);
  const metrics = createMetrics({
    pool: () => engine.stats(),
    tenants: () => ({}),
    diskFreeBytes: async () => 0,
  });
  const pricing = await createPricing({ file: config.pricesFile, clock, log });
  const agent = createAgentOf(config, {
    ...{ control, engine, transport, pricing, metrics, clock, ids, log },
    async reserveRoom(tenantId, bytes) {
      const bytesOfAll = (await first.ask('reserve', { tenantId, bytes })) ?? bytes;
      return { bytesOfAll, free: () => void first.ask('free', { tenantId, bytes }).catch(unheard) };
    },
  });
  const settling = setInterval(() => void agent.settleLeft(), SETTLE_MS);

  const services: Services = {
    control,
    engine,
    agent,
    operations: elsewhere('operations'),
    fleet: elsewhere('fleet'),
    doctor: elsewhere('doctor'),
    logRetention: elsewhere('log retention'),
    masterKeys: elsewhere('master keys'),
    usage: elsewhere('usage ledger'),
    ids,
    clock,
    log,
    metrics,
    lifecycle,
    gather: async () => {},
  };
  const listener = createListener(ids, (challenge) => proofOf(start.runSecret, challenge));
  const app = createApp({
    services,
    bodyBytesMax: config.bodyBytesMax,
    importBytesMax: config.importBytesMax,
    pingMs: config.pingMs,
    corsOrigins: config.corsOrigins,
    metricsPublic: config.metricsPublic,
    overloaded: loopDelay.overloaded,
    consoleDir: config.consoleDir,
  });
  listener.serve(app, createForward(workerEndpoints, start.socketPath, ids));
  lifecycle.state = 'ready';

  /** Tenants whose file this process keeps closed, and those whose turns it keeps from beginning. */
  const held = createGivenUp();
  const paused = createGivenUp();

  return {
    take: servesGivenConnections(listener.server),

    live({ runIds }) {
      const next = new Set([start.runId, ...runIds]);
      const hasEnded = [...liveRuns].some((runId) => !next.has(runId));
      liveRuns = next;
      if (hasEnded) engine.closeSoon();
      return null;
    },

    async hold({ tenantId }) {
      try {
        await held.giveUp(tenantId, engine.letGo(tenantId));
      } catch (error) {
        if (lifecycle.state !== 'draining') throw error;
        // Every file is being closed for good; the end of this process says when that is done.
        await new Promise(() => {});
      }
      await tell();
      return null;
    },
    async release({ tenantId }) {
      await held.takeBack(tenantId);
      return null;
    },

    async pause({ tenantId, code, message }) {
      const pausing = new Promise<() => void>((resolve, reject) => {
        const untilResumed = () => new Promise<void>((resume) => resolve(resume));
        agent.paused(tenantId, new Fault(code, message), untilResumed).catch(reject);
      });
      await paused.giveUp(tenantId, pausing);
      return null;
    },
    async resume({ tenantId }) {
      await paused.takeBack(tenantId);
      return null;
    },

    unlock({ keys }) {
      const [current = null, previous = null] = keys.flatMap((text) => {
        const bytes = parseMasterKey(text);
        return bytes ? [createMasterKey(bytes)] : [];
      });
      control.unlockProviderKeys(current, previous);
      return null;
    },

    async flush() {
      control.flushLastUses();
      await tell();
      return null;
    },
    figures: () => metrics.figures(),
    stats: () => engine.stats(),
    reloadPrices() {
      pricing.reload();
      return null;
    },

    async drain() {
      const deadline = clock.monotonic() + config.drainMs;
      lifecycle.state = 'draining';
      listener.endConnections();
      await agent.drain(config.drainMs);
      await within(Math.max(deadline - clock.monotonic(), FLUSH_MS), listener.answered());
      await closeHttp(listener.server);
      // A turn that was being admitted when the others ended has lost its client by now.
      await agent.drain(0);
      clearInterval(settling);
      await logRetention.stop();
      await transport.close();
      loopDelay.stop();
      await engine.close();
      clearInterval(telling);
      await tell();
      control.close();
      // When the answer to this has gone.
      setImmediate(() => process.disconnect());
      return null;
    },
  };
}

/** Makes this process a worker of the one that has started it, and ends it with that one. */
export function runWorker(overrides: WorkerOverrides = {}): void {
  process.umask(0o077);
  // A terminal signals the whole group; what is to be done about it, the first process says.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  let isDrained = false;
  // Without the first process nobody tells when a file is replaced: nothing may be written any more.
  process.on('disconnect', () => process.exit(isDrained ? 0 : 1));

  let work: Promise<Work> | undefined;
  const begun = (): Promise<Work> => work ?? Promise.reject(new Error('The worker was not started.'));
  const pass =
    <Name extends Exclude<keyof ToWorker, 'start'>>(name: Name) =>
    async (sent: ToWorker[Name]['sent']): Promise<ToWorker[Name]['answered']> =>
      (await begun())[name](sent as never);

  const first = openChannel<ToFirst, ToWorker>(
    process,
    {
      async start(start) {
        work = startWork(start, first, overrides);
        await work;
        return null;
      },
      live: pass('live'),
      hold: pass('hold'),
      release: pass('release'),
      pause: pass('pause'),
      resume: pass('resume'),
      unlock: pass('unlock'),
      flush: pass('flush'),
      figures: pass('figures'),
      stats: pass('stats'),
      reloadPrices: pass('reloadPrices'),
      async drain(sent) {
        await (await begun()).drain(sent);
        isDrained = true;
        return null;
      },
    },
    (socket) => void begun().then(({ take }) => take(socket)),
  );
}
