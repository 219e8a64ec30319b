import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TokenHasher } from '../control-plane/admin-tokens.ts';
import { openControlPlane } from '../control-plane/control-plane.ts';
import { type Clock, systemClock } from '../tenant-schema/clock.ts';
import type { EngineStats } from '../tenant-schema/engine.ts';
import { createIds } from '../tenant-schema/ids.ts';
import { openTenantEngine } from '../tenant-schema/sqlite/engine.ts';
import type { Migrations } from '../tenant-schema/sqlite/migrator.ts';
import { bind, localUrl, openWorkersDoor } from './address.ts';
import type { Agent } from './agent/agent.ts';
import { closeHttp, createAgentOf, FLUSH_MS, storageBytesMaxOf, within } from './common.ts';
import { type Config, ConfigError } from './config.ts';
import { announce, newRunSecret, openDataFolder, proofOf, StartError } from './data-folder.ts';
import type { Lifecycle } from './endpoints/endpoint.ts';
import { type FirstRun, hasNoTenants, makeDemo } from './first-run.ts';
import { createApp } from './http/app.ts';
import { withInternalAdmin } from './http/authenticate.ts';
import { createDoor, createWorkersDoor, servesGivenConnections } from './http/forward.ts';
import { createListener } from './http/listener.ts';
import type { Pace } from './http/pace.ts';
import { createDisk } from './operations/disk.ts';
import { createDoctor } from './operations/doctor.ts';
import { createFleet } from './operations/fleet.ts';
import { createLogRetention } from './operations/log-retention.ts';
import { openMasterKeys } from './operations/master-key.ts';
import { createOperations, type Operations } from './operations/operations.ts';
import { type Rebuild, rebuildControl } from './operations/rebuild.ts';
import { createUsageLedger, type UsageLedger } from './operations/usage-ledger.ts';
import { PricesFileError } from './pricing/prices-file.ts';
import { createPricing, type Pricing, type PricingOptions } from './pricing/pricing.ts';
import { createTransport } from './providers/transport.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { watchLoopDelay } from './telemetry/loop-delay.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { type Crew, createCrew } from './workers/crew.ts';
import { NO_CREW } from './workers/no-crew.ts';
import { createReservations } from './workers/reservations.ts';

export interface Server {
  operations: Operations;
  firstRun: FirstRun;
  /** Accepts connections from now on. @throws `StartError` when a worker cannot be started. */
  listen(): Promise<{ url: string }>;
  /**
   * Stops accepting, waits for what runs as long as the settings allow, and closes every file. Later calls
   * give the same promise.
   */
  close(): Promise<void>;
  /** Resolves with the reason where the server cannot go on, and is to be closed. */
  failed: Promise<string>;
  /** Reads the file of prices again; a bad one changes nothing and is logged. */
  reloadPrices(): void;
  /** See `operations/rebuild.ts`. Not for a server that others can reach. */
  rebuildControl(progress: (done: number, total: number) => void): Promise<Rebuild>;
}

/** What a test may put in the place of the real thing. */
export interface Overrides {
  clock?: Clock;
  log?: Log;
  overloaded?: () => boolean;
  filePace?: Pace;
  tokenHasher?: TokenHasher;
  /** What the disk of the data folder has free. */
  diskFreeBytes?: () => Promise<number>;
  /** The program of a worker. */
  workerProgram?: string;
  /** Takes what workers write to standard error. */
  workerLog?: (text: string) => void;
  /** Schemas of tenants' files that no release has yet. */
  tenantMigrations?: Migrations;
  /**
   * For a server that lives inside a command: an admin token that is never stored. No other one is made then, nor a
   * demo, and the address is not written down for others.
   */
  internalAdminToken?: string;
}

const WORKER_PROGRAM = fileURLToPath(new URL(`./worker-main${extname(import.meta.url)}`, import.meta.url));
/** A worker has so long after its own drain to close its files. */
const DRAIN_SPARE_MS = 10_000;
const RESTART_MS = 200;

/** @throws `ConfigError` for a file of prices that cannot be used */
async function openPricing(options: PricingOptions): Promise<Pricing> {
  try {
    return await createPricing(options);
  } catch (error) {
    if (error instanceof PricesFileError)
      throw new ConfigError('PRICES_FILE', `a file of prices: ${error.message}`);
    throw error;
  }
}

/** Open files are divided: the first process needs few of them, for what admins do. */
function shareOpenTenants(openMax: number, workers: number): { first: number; worker: number } {
  if (workers === 1) return { first: openMax, worker: 0 };
  const first = Math.max(1, Math.floor(openMax / 8));
  return { first, worker: Math.max(1, Math.floor((openMax - first) / workers)) };
}

const sumOf = (all: readonly EngineStats[]): EngineStats =>
  all.reduce((a, b) => ({
    open: a.open + b.open,
    leased: a.leased + b.leased,
    openMax: a.openMax + b.openMax,
    hits: a.hits + b.hits,
    misses: a.misses + b.misses,
    evictions: a.evictions + b.evictions,
  }));

/**
 * The composition root: builds every room and hands each what it needs. The folder is taken and its databases
 * are migrated when this resolves. @throws `StartError` when another server owns the folder.
 */
export async function createServer(config: Config, overrides: Overrides = {}): Promise<Server> {
  const clock = overrides.clock ?? systemClock;
  const log = overrides.log ?? createLog({ level: config.logLevel });
  const ids = createIds(clock);
  const lifecycle: Lifecycle = { state: 'starting' };
  const { internalAdminToken } = overrides;
  const isInternal = internalAdminToken !== undefined;
  const workers = isInternal ? 1 : config.workers;
  const openTenants = shareOpenTenants(config.openTenantsMax, workers);
  // A command runs no turn, and what it does must not depend on a file of prices.
  const pricing = await openPricing({ file: isInternal ? null : config.pricesFile, clock, log });

  // What has been opened, to be closed in the opposite order: at the end, or where a later step fails.
  const opened: (() => void | Promise<void>)[] = [];
  const closeOpened = async () => {
    for (let close = opened.pop(); close; close = opened.pop()) {
      // One that fails must not keep the others from closing.
      try {
        await close();
      } catch (error) {
        log.error({ err: error }, 'something could not be closed');
      }
    }
  };

  try {
    const folder = openDataFolder(config.dataDir);
    opened.push(folder.release);

    // Before anything is made: an address that cannot be had leaves nothing behind, and probes are answered
    // while the databases are opened.
    const runSecret = newRunSecret();
    const listener = createListener(ids, (challenge) => proofOf(runSecret, challenge));
    const { server: http } = listener;
    const runId = ids();
    let fail = (_reason: string): void => {};
    const failed = new Promise<string>((resolve) => {
      fail = resolve;
    });
    const isCrewed = workers > 1;
    const reservations = createReservations();
    const crew: Crew = isCrewed
      ? createCrew({
          size: workers,
          ownRunId: runId,
          program: overrides.workerProgram ?? WORKER_PROGRAM,
          startOf: (workerRunId) => ({
            // Not what they have no use for: admins and sealed keys are for this process.
            config: {
              ...config,
              ...{ adminToken: null, masterKey: null, masterKeyPrevious: null },
              openTenantsMax: openTenants.worker,
            },
            runId: workerRunId,
            runSecret,
            socketPath,
          }),
          ids,
          clock,
          log,
          stderr: overrides.workerLog ?? null,
          reservations,
          restartMs: RESTART_MS,
          drainMs: config.drainMs + DRAIN_SPARE_MS,
          bringUp: (tenantId) => engine.use(tenantId, () => {}),
          settleRest: (tenantId) => engine.settleRest(tenantId),
          used: (tenantId, used) => usage.add(tenantId, used),
          died(toldUntil) {
            engine.closeSoon();
            usage.makeUpFor(toldUntil);
          },
          gaveUp: () => fail('workers die as soon as they are started: the server ends; its log says why'),
        })
      : NO_CREW;
    const take = isCrewed ? servesGivenConnections(http) : () => {};
    const door = isCrewed ? createDoor(take, crew.handOff) : http;
    const address = await bind(door, config);
    door.on('error', (error) => log.error({ err: error }, 'a connection could not be accepted'));
    const workersDoor = createWorkersDoor(take);
    const closeDoors = (): Promise<void> => {
      if (isCrewed) door.close();
      workersDoor.close();
      return closeHttp(http);
    };
    opened.push(closeDoors);
    const socketPath = isCrewed ? await openWorkersDoor(workersDoor, config.dataDir) : '';

    const { tokenHasher } = overrides;
    const control = openControlPlane({
      path: folder.controlDb,
      clock,
      ids,
      sessionLimits: config.sessionLimits,
      ...(tokenHasher && { tokenHasher }),
    });
    opened.push(() => control.close());
    const masterKeys = await openMasterKeys({
      control,
      dataDir: config.dataDir,
      given: config.masterKey,
      previous: config.masterKeyPrevious,
      log,
      share: crew.unlock,
    });

    const engine = openTenantEngine({
      folder: folder.tenants,
      clock,
      ids,
      runId,
      openMax: openTenants.first,
      idleMs: config.tenantIdleMs,
      usesThreads: !isInternal,
      startsCopier: !isInternal && config.backupEveryMs !== null,
      durability: config.durability,
      ...(isCrewed && { isLiveRun: crew.isLiveRun, closedElsewhere: crew.closed }),
      ...(overrides.tenantMigrations && { migrations: overrides.tenantMigrations }),
      storageBytesMaxOf: (tenantId) => storageBytesMaxOf(control, tenantId),
      // Made below, with this engine. Until then no file is opened but the demo's, which is new.
      keepBeforeRewrite: (tenantId, copy) => operations.keepBeforeMigration(tenantId, copy),
      onUsage(tenantId, used) {
        usage.add(tenantId, used);
        logRetention.touched(tenantId);
      },
      log,
    });
    const usage: UsageLedger = createUsageLedger({
      control,
      engine,
      clock,
      log,
      closedElsewhere: crew.closed,
      gather: crew.flush,
      toldUntil: () => crew.toldUntil() ?? Infinity,
    });
    // Closed after the engine, when nothing can be used any more.
    opened.push(() => usage.close());
    opened.push(() => engine.close());
    const logRetention = createLogRetention({
      control,
      engine,
      clock,
      log,
      // A command has the settings of its shell, not those of the server: how much it may remove has to be said.
      keepDays: isInternal ? null : config.logKeepDays,
      isAlone: isInternal,
    });
    opened.push(() => logRetention.stop());
    opened.push(() => usage.stop());

    const transport = createTransport({
      connectTimeoutMs: config.upstreamConnectMs,
      idleTimeoutMs: config.upstreamIdleMs,
    });
    opened.push(() => transport.close());

    const loopDelay = watchLoopDelay(config.loopDelayMsMax, clock);
    opened.push(() => loopDelay.stop());

    const disk = createDisk(config.dataDir, config.diskFreeBytesMin, overrides.diskFreeBytes);
    const metrics = createMetrics({
      pool: () => engine.stats(),
      tenants: () => control.countTenants(),
      diskFreeBytes: () => disk.freeBytes(),
      others: crew.figures,
    });
    const own = createAgentOf(config, {
      ...{ control, engine, transport, pricing, metrics, clock, ids, log },
      ...(isCrewed && {
        async reserveRoom(tenantId: string, bytes: number) {
          const bytesOfAll = reservations.reserve(crew, tenantId, bytes);
          return { bytesOfAll, free: () => reservations.free(crew, tenantId, bytes) };
        },
      }),
    });
    const agent: Agent = {
      ...own,
      paused: (tenantId, reason, work) =>
        own.paused(tenantId, reason, () => crew.paused(tenantId, reason, work)),
    };

    // Not told by its absence: a command that was run since has made an empty one.
    const controlIsLost = folder.holdsTenants && hasNoTenants(control);
    if (controlIsLost) {
      log.warn(
        { folder: folder.tenants },
        "control.db is missing or empty, so that no key opens these tenants' files: while no server runs, put a copy from backups/control/ in its place, or run `nimblesite doctor --rebuild-control`",
      );
    }
    // The token is stored last: a first start that ends before it can show what it made is made again.
    const isFirst = !isInternal && !controlIsLost && !control.hasAdminToken() && hasNoTenants(control);
    const demo = isFirst ? await makeDemo(control, engine, ids) : null;
    if (config.adminToken !== null) await control.setAdminToken(config.adminToken);
    const adminToken = isInternal ? null : await control.ensureAdminToken();

    const operations = createOperations({
      control,
      engine,
      agent,
      clock,
      ids,
      log,
      disk,
      usage,
      pool: async () => sumOf([engine.stats(), ...(await crew.stats())]),
      dataDir: config.dataDir,
      // A command has the settings of its shell, not those of the server: it lets nothing expire.
      upkeep: isInternal
        ? null
        : {
            trashKeepMs: config.trashKeepMs,
            backupEveryMs: config.backupEveryMs,
            retention: {
              newest: config.backupKeep,
              daily: config.backupKeepDaily,
              weekly: config.backupKeepWeekly,
            },
          },
    });
    await operations.recover();
    // A copy under way is ended with the engine's workers; what it leaves has no name that counts.
    opened.push(() => within(FLUSH_MS, operations.stop()));
    if (!isInternal) operations.start();
    // A command ends too soon for it; the next server does it.
    usage.start(!isInternal);

    const fleet = createFleet({
      engine,
      quarantine: operations.quarantine,
      migrateOne: operations.migrate,
    });
    const doctor = createDoctor({
      control,
      engine,
      clock,
      inTurn: operations.inTurn,
      dataDir: config.dataDir,
      masterKeys,
    });

    const app = createApp({
      services: {
        control: isInternal ? withInternalAdmin(control, internalAdminToken) : control,
        engine,
        agent,
        operations,
        fleet,
        doctor,
        masterKeys,
        logRetention,
        usage,
        ids,
        clock,
        log,
        metrics,
        lifecycle,
        gather: crew.flush,
      },
      bodyBytesMax: config.bodyBytesMax,
      importBytesMax: config.importBytesMax,
      pingMs: config.pingMs,
      ...(overrides.filePace && { filePace: overrides.filePace }),
      corsOrigins: config.corsOrigins,
      metricsPublic: config.metricsPublic,
      consoleDir: config.consoleDir,
      overloaded: overrides.overloaded ?? loopDelay.overloaded,
    });
    listener.serve(app);
    // Before all else that was opened: workers may ask until they have ended.
    opened.push(() => crew.drain());

    const shutDown = async () => {
      lifecycle.state = 'draining';
      const deadline = clock.monotonic() + config.drainMs;
      // Still listening, so that probes hear that it drains; everything else is refused.
      listener.endConnections();
      // Workers wait for what they have passed on, which this process goes on to answer.
      await Promise.all([agent.drain(config.drainMs), crew.drain()]);
      const leftMs = Math.max(deadline - clock.monotonic(), 0);
      await within(Math.max(leftMs, FLUSH_MS), listener.answered());
      await closeDoors();
      // A turn that was being admitted when the others ended has lost its client by now.
      await agent.drain(0);
      await closeOpened();
    };
    let closing: Promise<void> | undefined;

    return {
      operations,
      firstRun: { adminToken, demo },
      failed,
      async listen() {
        try {
          await crew.start(masterKeys.inUse());
        } catch (error) {
          throw new StartError(error instanceof Error ? error.message : String(error), { cause: error });
        }
        lifecycle.state = 'ready';
        if (!isInternal) opened.push(announce(config.dataDir, { url: localUrl(address.url), runSecret }));
        return address;
      },
      close() {
        closing ??= shutDown();
        return closing;
      },
      reloadPrices() {
        pricing.reload();
        crew.reloadPrices();
      },
      rebuildControl: (progress) =>
        rebuildControl({ control, engine, usage, dataDir: config.dataDir }, progress),
    };
  } catch (error) {
    await closeOpened();
    throw error;
  }
}
