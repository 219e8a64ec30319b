import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TokenHasher } from '../control-plane/admin-tokens.ts';
import { openControlPlane } from '../control-plane/control-plane.ts';
import type { ControlPlane } from '../control-plane/types.ts';
import { type Clock, systemClock } from '../tenant-schema/clock.ts';
import type { TenantEngine } from '../tenant-schema/engine.ts';
import { createIds, type IdMaker } from '../tenant-schema/ids.ts';
import { openTenantEngine } from '../tenant-schema/sqlite/engine.ts';
import { createAgent } from './agent/turn.ts';
import type { Config } from './config.ts';
import { openDataFolder, StartError } from './data-folder.ts';
import type { Lifecycle } from './endpoints/endpoint.ts';
import { createApp } from './http/app.ts';
import { createListener } from './http/listener.ts';
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
  firstRun: FirstRun;
  /** Accepts connections from now on. @throws `StartError` when the address cannot be had. */
  listen(): Promise<{ url: string }>;
  /**
   * Stops accepting, waits for what runs as long as the settings allow, and closes every file. Later calls
   * give the same promise.
   */
  close(): Promise<void>;
}

/** What a test may put in the place of the real thing. */
export interface Overrides {
  clock?: Clock;
  log?: Log;
  overloaded?: () => boolean;
  tokenHasher?: TokenHasher;
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

async function bind(http: HttpServer, { host, port }: Config): Promise<{ url: string }> {
  http.listen(port, host);
  try {
    await once(http, 'listening');
  } catch (error) {
    const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    const reason = inUse ? 'the port is in use' : error instanceof Error ? error.message : String(error);
    throw new StartError(`cannot listen on ${urlOf(host, port)}: ${reason}`, { cause: error });
  }
  return { url: urlOf(host, (http.address() as AddressInfo).port) };
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

  // What has been opened, to be closed in the opposite order: at the end, or where a later step fails.
  const opened: (() => void | Promise<void>)[] = [];
  const closeOpened = async () => {
    for (let close = opened.pop(); close; close = opened.pop()) await close();
  };

  try {
    const folder = openDataFolder(config.dataDir);
    opened.push(folder.release);
    const isNew = !existsSync(folder.controlDb);

    const { tokenHasher } = overrides;
    const control = openControlPlane({
      path: folder.controlDb,
      clock,
      ids,
      ...(tokenHasher && { tokenHasher }),
    });
    opened.push(() => control.close());

    const engine = openTenantEngine({
      folder: folder.tenants,
      clock,
      ids,
      runId: ids(),
      openMax: config.openTenantsMax,
      idleMs: config.tenantIdleMs,
      synchronous: config.durability === 'full' ? 'FULL' : 'NORMAL',
      log,
    });
    opened.push(() => engine.close());

    const transport = createTransport({
      connectTimeoutMs: config.upstreamConnectMs,
      idleTimeoutMs: config.upstreamIdleMs,
    });
    opened.push(() => transport.close());

    const loopDelay = watchLoopDelay(config.loopDelayMsMax);
    opened.push(() => loopDelay.stop());

    const metrics = createMetrics(() => engine.stats());
    const agent = createAgent({
      engine,
      providers: createProviders({ endpoints: config.providers, retries: config.upstreamRetries }, transport),
      clock,
      ids,
      log,
      metrics,
      historyBytesMax: config.historyBytesMax,
      totalTimeoutMs: config.upstreamTotalMs,
    });

    if (config.adminToken !== null) await control.setAdminToken(config.adminToken);
    const adminToken = await control.ensureAdminToken();
    const demo = isNew ? await makeDemo(control, engine, ids) : null;

    const app = createApp({
      services: { control, engine, agent, ids, clock, log, metrics, lifecycle },
      bodyBytesMax: config.bodyBytesMax,
      pingMs: config.pingMs,
      corsOrigins: config.corsOrigins,
      metricsPublic: config.metricsPublic,
      overloaded: overrides.overloaded ?? loopDelay.overloaded,
    });
    const { server: http, answered } = createListener(app, ids);

    const shutDown = async () => {
      lifecycle.state = 'draining';
      const deadline = clock.monotonic() + config.drainMs;
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      await agent.drain(config.drainMs);
      const leftMs = Math.max(deadline - clock.monotonic(), 0);
      await within(Math.max(leftMs, FLUSH_MS), answered());
      // What is left has not asked for anything, or does not take its answer.
      http.closeAllConnections();
      await closed;
      // A turn that was being admitted when the others ended has lost its client by now.
      await agent.drain(0);
      await closeOpened();
    };
    let closing: Promise<void> | undefined;

    return {
      firstRun: { adminToken, demo },
      async listen() {
        const address = await bind(http, config);
        // A connection that cannot be accepted, for want of descriptors say, must not end the server.
        http.on('error', (error) => log.error({ err: error }, 'a connection could not be accepted'));
        lifecycle.state = 'ready';
        return address;
      },
      close() {
        closing ??= shutDown();
        return closing;
      },
    };
  } catch (error) {
    await closeOpened();
    throw error;
  }
}
