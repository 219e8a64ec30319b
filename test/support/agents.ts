import type { TenantIdentity } from '../../control-plane/types.ts';
import type { Agent, ChatAnswer, ChatRequest, TurnEvent } from '../../server/agent/agent.ts';
import { createAgent } from '../../server/agent/turn.ts';
import { PROVIDER_NAMES, type ProviderName } from '../../server/providers/catalogue.ts';
import { createProviders, type ProviderSettings } from '../../server/providers/registry.ts';
import { createTransport } from '../../server/providers/transport.ts';
import type { TurnSample } from '../../server/telemetry/metrics.ts';
import type { ConfigContent, TurnInput } from '../../tenant-schema/store.ts';
import { configContent, startEngine, type TestEngine } from './tenants.ts';
import { startUpstream, type Upstream } from './upstream.ts';

export interface AgentWorld {
  agent: Agent;
  upstream: Upstream;
  tenants: TestEngine;
  /** The metrics' samples of all turns that have ended. */
  samples: TurnSample[];
  /** What the agent has logged as an error. */
  errors: object[];
  /** Makes a tenant with one config. */
  tenant(config?: Partial<ConfigContent>): Promise<TestTenant>;
  stop(): Promise<void>;
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

/** The agent over real files and a scripted upstream that it reaches over HTTP. */
export async function startAgent(options: { totalTimeoutMs?: number } = {}): Promise<AgentWorld> {
  const upstream = await startUpstream();
  const tenants = startEngine();
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
  const agent = createAgent({
    engine: tenants.engine,
    providers: createProviders({ endpoints, retries: 0 }, transport),
    clock: tenants.clock,
    ids: tenants.ids,
    log: { error: (fields) => errors.push(fields) },
    metrics: { turn: (sample) => samples.push(sample) },
    historyBytesMax: 1_000_000,
    totalTimeoutMs: options.totalTimeoutMs ?? 60_000,
  });
  return {
    agent,
    upstream,
    tenants,
    samples,
    errors,
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
  ...changes,
});

/** Runs one turn to its end. */
export async function take(
  agent: Agent,
  request: ChatRequest,
  clientGone: AbortSignal = new AbortController().signal,
): Promise<Told> {
  const events: TurnEvent[] = [];
  const turn = await agent.begin(request);
  const answer = await turn.run(clientGone, (event) => {
    events.push(event);
  });
  return { answer, events };
}
