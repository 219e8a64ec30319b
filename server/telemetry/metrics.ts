import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from 'prom-client';
import type { EngineStats } from '../../tenant-schema/engine.ts';

/** A turn that has ended. */
export interface TurnSample {
  provider: string;
  status: 'ok' | 'error' | 'aborted';
  latencyMs: number;
  firstTokenMs: number | null;
}

/** A request that has been answered. `route` is the template, never the path that was asked for. */
export interface RequestSample {
  method: string;
  route: string;
  status: number;
  durationMs: number;
}

/** One figure with its values, as one process tells another. */
export type Figures = MetricObjectWithValues<MetricValue<string>>;

/** What the server counts. No label has values that a tenant can choose. */
export interface Metrics {
  request(sample: RequestSample): void;
  turn(sample: TurnSample): void;
  /** The figures in Prometheus' text format, each summed with those of the other processes. */
  render(): Promise<{ contentType: string; text: string }>;
  /** The figures of this process alone. */
  figures(): Promise<Figures[]>;
}

const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
// Models answer in seconds, long ones in minutes.
const TURN_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640];

/** What is asked for at each look, rather than counted. Cheap. */
export interface MetricSources {
  pool(): EngineStats;
  /** How many tenants, by status. */
  tenants(): Record<string, number>;
  diskFreeBytes(): Promise<number>;
  /** The figures of each other process of the server. Default: there are none. */
  others?(): Promise<Figures[][]>;
}

/** Figures in a registry of their own, those of the process (memory, event-loop delay, …) among them. */
export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: 'nimblesite_http_requests_total',
    help: 'HTTP requests answered',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const requestSeconds = new Histogram({
    name: 'nimblesite_http_request_duration_seconds',
    help: 'From the arrival of a request to the end of its answer',
    labelNames: ['method', 'route'],
    buckets: REQUEST_SECONDS,
    registers,
  });
  const turns = new Counter({
    name: 'nimblesite_turns_total',
    help: 'Turns that have ended',
    labelNames: ['provider', 'status'],
    registers,
  });
  const turnSeconds = new Histogram({
    name: 'nimblesite_turn_duration_seconds',
    help: 'From the admission of a turn to its end',
    labelNames: ['provider'],
    buckets: TURN_SECONDS,
    registers,
  });
  const firstTokenSeconds = new Histogram({
    name: 'nimblesite_turn_first_token_seconds',
    help: "From the admission of a turn to the model's first token",
    labelNames: ['provider'],
    buckets: TURN_SECONDS,
    registers,
  });

  const poolGauge = (name: string, help: string, read: (stats: EngineStats) => number) =>
    new Gauge({
      name: `nimblesite_pool_${name}`,
      help,
      registers,
      collect() {
        this.set(read(sources.pool()));
      },
    });
  // Counters are read from the pool's own totals, so they are set rather than counted up.
  const poolCounter = (name: string, help: string, read: (stats: EngineStats) => number) =>
    new Counter({
      name: `nimblesite_pool_${name}_total`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read(sources.pool()));
      },
    });
  poolGauge('open', 'Tenant files open now', (stats) => stats.open);
  poolGauge('leased', 'Tenant files at work now', (stats) => stats.leased);
  poolGauge('open_max', 'Tenant files that may be open at once', (stats) => stats.openMax);
  poolCounter('hits', 'Uses that found the file open', (stats) => stats.hits);
  poolCounter('misses', 'Uses that had to open the file', (stats) => stats.misses);
  poolCounter('evictions', 'Files closed to make room', (stats) => stats.evictions);

  new Gauge({
    name: 'nimblesite_tenants',
    help: 'Tenants by status',
    labelNames: ['status'],
    // Of the first process: what all of them see is not to be summed.
    aggregator: 'first',
    registers,
    collect() {
      for (const [status, count] of Object.entries(sources.tenants())) this.set({ status }, count);
    },
  });
  new Gauge({
    name: 'nimblesite_disk_free_bytes',
    help: 'What the disk of the data folder has free',
    aggregator: 'first',
    registers,
    async collect() {
      this.set(await sources.diskFreeBytes());
    },
  });

  return {
    request({ method, route, status, durationMs }) {
      requests.inc({ method, route, status });
      requestSeconds.observe({ method, route }, durationMs / 1000);
    },
    turn({ provider, status, latencyMs, firstTokenMs }) {
      turns.inc({ provider, status });
      turnSeconds.observe({ provider }, latencyMs / 1000);
      if (firstTokenMs !== null) firstTokenSeconds.observe({ provider }, firstTokenMs / 1000);
    },
    figures: () => registry.getMetricsAsJSON(),
    async render() {
      const others = (await sources.others?.()) ?? [];
      const whole =
        others.length === 0
          ? registry
          : AggregatorRegistry.aggregate([await registry.getMetricsAsJSON(), ...others]);
      return { contentType: registry.contentType, text: await whole.metrics() };
    },
  };
}
