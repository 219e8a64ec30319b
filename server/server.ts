import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TokenHasher } from '../control-plane/admin-tokens.ts';
import { openControlPlane } from '../control-plane/control-plane.ts';
import type { ControlPlane } from '../control-plane/types.ts';
import { type Clock, systemClock } from '../tenant-schema/clock.ts';
import type { TenantEngine } from '../tenant-schema/engine.ts';
import { Fault } from '../tenant-schema/fault.ts';
import { createIds, type IdMaker } from '../tenant-schema/ids.ts';
import { openTenantEngine } from '../tenant-schema/sqlite/engine.ts';
import type { Migrations } from '../tenant-schema/sqlite/migrator.ts';
import { createAgent } from './agent/admission.ts';
import { type Config, ConfigError } from './config.ts';
import { announce, newRunSecret, openDataFolder, proofOf, StartError } from './data-folder.ts';
import type { Lifecycle } from './endpoints/endpoint.ts';
import { createApp } from './http/app.ts';
import { withInternalAdmin } from './http/authenticate.ts';
import { createListener } from './http/listener.ts';
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
import { createProviders } from './providers/registry.ts';
import { createTransport } from './providers/transport.ts';
import { createLog, type Log } from './telemetry/log.ts';
import { watchLoopDelay } from './telemetry/loop-delay.ts';
import { createMetrics } from './telemetry/metrics.ts';

/** What a start has made that is shown once and is kept nowhere else. */
export interface FirstRun {
  /** Null where one was there, or was given. */
  adminToken: string | null;
  /** Where the folder was new: a config that answers without any account, and a key for it. */
  demo: { configId: string; apiKey: string } | null;
}

export interface Server {
  operations: Operations;
  firstRun: FirstRun;
  /** Accepts connections from now on. @throws `StartError` when the address cannot be had. */
  listen(): Promise<{ url: string }>;
  /**
   * Stops accepting, waits for what runs as long as the settings allow, and closes every file. Later calls
   * give the same promise.
   */
  close(): Promise<void>;
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
  tokenHasher?: TokenHasher;
  /** What the disk of the data folder has free. */
  diskFreeBytes?: () => Promise<number>;
  /** Schemas of tenants' files that no release has yet. */
  tenantMigrations?: Migrations;
  /**
   * For a server that lives inside a command: an admin token that is never stored. No other one is made then, nor a
   * demo, and the address is not written down for others.
   */
  internalAdminToken?: string;
}

/** Answers that were ready when the drain ended get so long to reach their clients. */
const FLUSH_MS = 1000;

const SYSTEM = { id: 'system', name: 'system', requestId: null };

/** A tenant that may ask the `demo` provider only, so that a first reply costs nothing and needs no account. */
async function makeDemo(control: ControlPlane, engine: TenantEngine, ids: IdMaker) {
  const id = ids();
  await engine.create({ id, name: 'Demo' });
  const { issued } = control.addTenant(id, { name: 'Demo', limits: { providers: ['demo'] } }, SYSTEM);
  const config = await engine.use(id, (store) =>
    store.createConfig({
      name: 'assistant',
      agentType: 'client-side',
      systemPrompt: 'You are the assistant of {tenant_name}. Today is {date}.',
      modelConfig: { provider: 'demo', model: 'demo' },
      toolsConfig: [],
      metadata: {},
    }),
  );
  return { configId: config.id, apiKey: issued.secret };
}

/** `http://` and the host, in brackets where it is an IPv6 address. */
export const urlOf = (host: string, port: number): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** Where a client on this machine finds a server that listens on every address. */
export function localUrl(url: string): string {
  const { hostname, port } = new URL(url);
  const everywhere: Record<string, string> = { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' };
  return `http://${everywhere[hostname] ?? hostname}:${port || '80'}`;
}

/** What the system says of a host that it cannot listen on. */
const NO_SUCH_HOST = ['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN', 'EINVAL', 'EAFNOSUPPORT'];

async function bind(http: HttpServer, { host, port }: Config): Promise<{ url: string }> {
  http.listen(port, host);
  try {
    await once(http, 'listening');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (NO_SUCH_HOST.includes(code)) throw new ConfigError('HOST', 'an address of this machine');
    const reason = code === 'EADDRINUSE' ? 'the port is in use' : String(error);
    throw new StartError(`cannot listen on ${urlOf(host, port)}: ${reason}; set PORT to another one`, {
      cause: error,
    });
  }
  return { url: urlOf(host, (http.address() as AddressInfo).port) };
}

/** Closes what is left: connections that have not asked for anything, or that do not take their answer. */
function closeListener(http: HttpServer): Promise<void> {
  return new Promise((resolve) => {
    http.close(() => resolve());
    http.closeAllConnections();
  });
}

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

const hasNoTenants = (control: ControlPlane): boolean =>
  Object.values(control.countTenants()).every((count) => count === 0);

/** A tenant's limit; none for a file that no row knows yet. */
function storageBytesMaxOf(control: ControlPlane, tenantId: string): number | null {
  try {
    return control.getTenant(tenantId).limits.storage_bytes_max;
  } catch (error) {
    if (error instanceof Fault && error.code === 'not_found') return null;
    throw error;
  }
}

/** Resolves when `work` is done, and after `ms` in any case. */
function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

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
    const address = await bind(http, config);
    http.on('error', (error) => log.error({ err: error }, 'a connection could not be accepted'));
    opened.push(() => closeListener(http));

    const { tokenHasher } = overrides;
    const control = openControlPlane({
      path: folder.controlDb,
      clock,
      ids,
      ...(tokenHasher && { tokenHasher }),
    });
    opened.push(() => control.close());
    const masterKeys = await openMasterKeys({
      control,
      dataDir: config.dataDir,
      given: config.masterKey,
      previous: config.masterKeyPrevious,
      log,
    });

    const engine = openTenantEngine({
      folder: folder.tenants,
      clock,
      ids,
      runId: ids(),
      openMax: config.openTenantsMax,
      idleMs: config.tenantIdleMs,
      synchronous: config.durability === 'full' ? 'FULL' : 'NORMAL',
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
    const usage: UsageLedger = createUsageLedger({ control, engine, clock, log });
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

    const loopDelay = watchLoopDelay(config.loopDelayMsMax);
    opened.push(() => loopDelay.stop());

    const disk = createDisk(config.dataDir, config.diskFreeBytesMin, overrides.diskFreeBytes);
    const metrics = createMetrics({
      pool: () => engine.stats(),
      tenants: () => control.countTenants(),
      diskFreeBytes: () => disk.freeBytes(),
    });
    const agent = createAgent({
      engine,
      providers: createProviders(
        {
          endpoints: config.providers,
          retries: config.upstreamRetries,
          allowServerKeys: config.allowServerKeys,
        },
        transport,
      ),
      ownKeyOf: (tenantId, provider) => control.openProviderKey(tenantId, provider),
      clock,
      ids,
      log,
      metrics,
      pricing,
      historyBytesMax: config.historyBytesMax,
      totalTimeoutMs: config.upstreamTotalMs,
    });

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
      },
      bodyBytesMax: config.bodyBytesMax,
      importBytesMax: config.importBytesMax,
      pingMs: config.pingMs,
      corsOrigins: config.corsOrigins,
      metricsPublic: config.metricsPublic,
      overloaded: overrides.overloaded ?? loopDelay.overloaded,
    });
    listener.serve(app);

    const shutDown = async () => {
      lifecycle.state = 'draining';
      const deadline = clock.monotonic() + config.drainMs;
      // Still listening, so that probes hear that it drains; everything else is refused.
      listener.endConnections();
      await agent.drain(config.drainMs);
      const leftMs = Math.max(deadline - clock.monotonic(), 0);
      await within(Math.max(leftMs, FLUSH_MS), listener.answered());
      await closeListener(http);
      // A turn that was being admitted when the others ended has lost its client by now.
      await agent.drain(0);
      await closeOpened();
    };
    let closing: Promise<void> | undefined;

    return {
      operations,
      firstRun: { adminToken, demo },
      async listen() {
        lifecycle.state = 'ready';
        if (!isInternal) opened.push(announce(config.dataDir, { url: localUrl(address.url), runSecret }));
        return address;
      },
      close() {
        closing ??= shutDown();
        return closing;
      },
      reloadPrices: () => pricing.reload(),
      rebuildControl: (progress) =>
        rebuildControl({ control, engine, usage, dataDir: config.dataDir }, progress),
    };
  } catch (error) {
    await closeOpened();
    throw error;
  }
}
