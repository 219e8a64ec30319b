import type { Server as HttpServer } from 'node:http';
import type { ControlPlane } from '../control-plane/types.ts';
import type { Clock } from '../tenant-schema/clock.ts';
import type { TenantEngine } from '../tenant-schema/engine.ts';
import { Fault } from '../tenant-schema/fault.ts';
import type { IdMaker } from '../tenant-schema/ids.ts';
import { type AgentParts, createAgent } from './agent/admission.ts';
import type { Agent } from './agent/agent.ts';
import type { Config } from './config.ts';
import type { Pricing } from './pricing/pricing.ts';
import { createProviders } from './providers/registry.ts';
import type { Transport } from './providers/transport.ts';
import type { Log } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

// What every process of a server that takes turns is put together with.

/** Answers that were ready when the drain ended get so long to reach their clients. */
export const FLUSH_MS = 1000;

/** What takes turns, as the settings say. */
export const createAgentOf = (
  config: Config,
  parts: {
    control: ControlPlane;
    engine: TenantEngine;
    transport: Transport;
    pricing: Pricing;
    metrics: Metrics;
    clock: Clock;
    ids: IdMaker;
    log: Log;
    reserveRoom?: AgentParts['reserveRoom'];
  },
): Agent =>
  createAgent({
    ...parts,
    providers: createProviders(
      {
        endpoints: config.providers,
        retries: config.upstreamRetries,
        allowServerKeys: config.allowServerKeys,
      },
      parts.transport,
    ),
    ownKeyOf: (tenantId, provider) => parts.control.openProviderKey(tenantId, provider),
    historyBytesMax: config.historyBytesMax,
    totalTimeoutMs: config.upstreamTotalMs,
  });

/** A tenant's limit; none for a file that no row knows yet. */
export function storageBytesMaxOf(control: ControlPlane, tenantId: string): number | null {
  try {
    return control.getTenant(tenantId).limits.storage_bytes_max;
  } catch (error) {
    if (error instanceof Fault && error.code === 'not_found') return null;
    throw error;
  }
}

/** Closes what is left: connections that have not asked for anything, or that do not take their answer. */
export function closeHttp(http: HttpServer): Promise<void> {
  return new Promise((resolve) => {
    http.close(() => resolve());
    http.closeAllConnections();
  });
}

/** Resolves when `work` is done, and after `ms` in any case. */
export function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
