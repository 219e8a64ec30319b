import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TenantIdentity } from '../../control-plane/types.ts';
import { createAgent } from '../../server/agent/admission.ts';
import type { Agent, ChatAnswer, ChatRequest, Turn, TurnEvent } from '../../server/agent/agent.ts';
import { createPricing } from '../../server/pricing/pricing.ts';
import { PROVIDER_NAMES, type ProviderName } from '../../server/providers/catalogue.ts';
import { createProviders, type ProviderSettings } from '../../server/providers/registry.ts';
import { createTransport } from '../../server/providers/transport.ts';
import type { TurnSample } from '../../server/telemetry/metrics.ts';
import type { EngineOptions } from '../../tenant-schema/sqlite/engine.ts';
import type { ConfigContent, JsonObject, TurnInput } from '../../tenant-schema/store.ts';
import { configContent, startEngine, type TestEngine, temporaryFolder } from './tenants.ts';
import { startUpstream, type Upstream } from './upstream.ts';

export interface AgentWorld {
  agent: Agent;
  upstream: Upstream;
  tenants: TestEngine;
  /** The metrics' samples of all turns that have ended. */
  samples: TurnSample[];
  /** What the agent has logged as an error. */
  errors: object[];
  /** For whom the agent has asked for an own key, in order. */
  keysAsked: KeyAsked[];
  /** Makes a tenant with one config. */
  tenant(config?: Partial<ConfigContent>): Promise<TestTenant>;
  stop(): Promise<void>;
}

export interface KeyAsked {
  tenantId: string;
  provider: ProviderName;
}

export interface TestTenant {
  identity: TenantIdentity;
  configId: string;
  /** A request to the tenant's config. */
  request(input: string | TurnInput, changes?: Partial<ChatRequest>): ChatRequest;
}

export interface Told {
  answer: ChatAnswer;
  events: TurnEvent[];
}

export interface AgentOptions {
  totalTimeoutMs?: number;
  /** The content of a file of prices: by default there is none, and the upstream's models have no price. */
  prices?: JsonObject;
  /** Own keys by provider, the same for every tenant. */
  ownKeys?: Partial<Record<ProviderName, string>>;
  engine?: Partial<EngineOptions>;
}

/** The agent over real files and a scripted upstream that it reaches over HTTP. */
export async function startAgent(options: AgentOptions = {}): Promise<AgentWorld> {
  const upstream = await startUpstream();
  const tenants = startEngine(options.engine);
  const { clock } = tenants;
  const temporary = temporaryFolder();
  const file = options.prices ? join(temporary.path, 'prices.json') : null;
  if (file !== null) writeFileSync(file, JSON.stringify(options.prices));
  const transport = createTransport({ connectTimeoutMs: 5000, idleTimeoutMs: 5000 });
  const none = { apiKey: null, baseUrl: null };
  const endpoints = Object.fromEntries(PROVIDER_NAMES.map((name) => [name, none])) as Record<
    ProviderName,
    ProviderSettings['endpoints'][ProviderName]
  >;
  endpoints.openai = { apiKey: 'sk-test-openai', baseUrl: upstream.openaiUrl };
  endpoints.anthropic = { apiKey: 'sk-test-anthropic', baseUrl: upstream.anthropicUrl };
  const samples: TurnSample[] = [];
  const errors: object[] = [];
  const keysAsked: KeyAsked[] = [];
  const agent = createAgent({
    engine: tenants.engine,
    providers: createProviders({ endpoints, retries: 0 }, transport),
    ownKeyOf(tenantId, provider) {
      keysAsked.push({ tenantId, provider });
      return options.ownKeys?.[provider] ?? null;
    },
    clock,
    ids: tenants.ids,
    log: { error: (fields) => errors.push(fields) },
    metrics: { turn: (sample) => samples.push(sample) },
    pricing: await createPricing({ file, clock, log: { info() {}, error() {} } }),
    historyBytesMax: 1_000_000,
    totalTimeoutMs: options.totalTimeoutMs ?? 60_000,
  });
  return {
    agent,
    upstream,
    tenants,
    samples,
    errors,
    keysAsked,
    async tenant(config = {}) {
      const id = await tenants.tenant();
      const content = configContent({ modelConfig: { provider: 'openai', model: 'gpt-test' }, ...config });
      const { id: configId } = await tenants.engine.use(id, (store) => store.createConfig(content));
      const identity = identityOf(id);
      return {
        identity,
        configId,
        request: (input, changes) => chatRequest(identity, configId, input, changes),
      };
    },
    async stop() {
      await agent.drain(0);
      await transport.close();
      await upstream.close();
      await tenants.stop();
      temporary.remove();
    },
  };
}

const identityOf = (id: string): TenantIdentity => ({
  tenant: {
    id,
    name: 'Acme',
    status: 'active',
    metadata: {},
    limits: {
      requests_per_minute: null,
      tokens_per_minute: null,
      max_concurrent_turns: null,
      monthly_spend_usd: null,
      storage_bytes_max: null,
      providers: null,
    },
    settings: { log_content: false, redact_secrets: true },
    createdAt: 0,
  },
  key: { id: 'key', name: 'default', scopes: ['chat', 'read', 'manage'] },
});

const chatRequest = (
  identity: TenantIdentity,
  configId: string,
  input: string | TurnInput,
  changes: Partial<ChatRequest> = {},
): ChatRequest => ({
  identity,
  requestId: 'request-1',
  configId,
  conversationId: null,
  input: typeof input === 'string' ? { kind: 'message', text: input, cancelToolCalls: false } : input,
  templateVars: {},
  user: null,
  metadata: null,
  idempotency: null,
  ...changes,
});

/** Begins a turn that no earlier one has answered. */
export async function begin(agent: Agent, request: ChatRequest): Promise<Turn> {
  const turn = await agent.begin(request);
  if (turn.kind !== 'begun') throw new Error('The request was answered before.');
  return turn;
}

/** Runs one turn to its end. */
export async function take(
  agent: Agent,
  request: ChatRequest,
  clientGone: AbortSignal = new AbortController().signal,
): Promise<Told> {
  const events: TurnEvent[] = [];
  const turn = await begin(agent, request);
  const answer = await turn.run(clientGone, (event) => {
    events.push(event);
  });
  return { answer, events };
}
