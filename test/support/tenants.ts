import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { createIds } from '../../tenant-schema/ids.ts';
import { type EngineOptions, openTenantEngine } from '../../tenant-schema/sqlite/engine.ts';
import type {
  BegunTurn,
  ConfigContent,
  FailedTurn,
  FinishedTurn,
  MessageDraft,
  TenantStore,
  TurnDemand,
  TurnInput,
  TurnLimits,
  TurnRequest,
} from '../../tenant-schema/store.ts';

/** A clock that only moves when it is told to. */
export class ManualClock implements Clock {
  ms: number;
  constructor(ms = Date.UTC(2026, 0, 15, 12)) {
    this.ms = ms;
  }
  now(): number {
    return this.ms;
  }
  monotonic(): number {
    return this.ms;
  }
  advance(ms: number): void {
    this.ms += ms;
  }
}

/** A folder that is gone after the test. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'nimblesite-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface TestEngine {
  engine: TenantEngine;
  folder: string;
  clock: ManualClock;
  ids: () => string;
  /** What the engine has warned of. */
  warnings: object[];
  /** Makes a tenant and gives its id. */
  tenant(name?: string): Promise<string>;
  /** Another start of the server on the same folder; the first engine must be closed. */
  restart(overrides?: Partial<EngineOptions>): TestEngine;
  /** Closes the engine and removes the folder. */
  stop(): Promise<void>;
}

/** A real engine over real files. @param clock what time it is at the start */
export function startEngine(
  overrides: Partial<EngineOptions> = {},
  clock: ManualClock = new ManualClock(),
): TestEngine {
  const temporary = temporaryFolder();
  return onFolder(temporary.path, temporary.remove, clock, overrides);
}

function onFolder(
  folder: string,
  remove: () => void,
  clock: ManualClock,
  overrides: Partial<EngineOptions>,
): TestEngine {
  const ids = createIds(clock);
  const warnings: object[] = [];
  const engine = openTenantEngine({
    folder,
    clock,
    ids,
    runId: ids(),
    openMax: 8,
    idleMs: 60_000,
    durability: 'normal',
    log: { warn: (fields) => warnings.push(fields) },
    ...overrides,
  });
  return {
    engine,
    folder,
    clock,
    ids,
    warnings,
    async tenant(name = 'Acme') {
      const id = ids();
      await engine.create({ id, name });
      return id;
    },
    restart: (next = {}) => onFolder(folder, remove, clock, { ...overrides, ...next }),
    async stop() {
      await engine.close();
      remove();
    },
  };
}

export const configContent = (changes: Partial<ConfigContent> = {}): ConfigContent => ({
  name: 'Assistant',
  agentType: 'client-side',
  systemPrompt: 'You help {tenant_name}.',
  modelConfig: { provider: 'demo', model: 'demo-1' },
  toolsConfig: [],
  metadata: {},
  ...changes,
});

export const NO_LIMITS: TurnLimits = {
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrentTurns: null,
  monthlySpendMicroUsd: null,
};

/** What a turn asks of limits where its test does not care. */
export const DEMAND: TurnDemand = {
  inputTokens: 5,
  outputTokensMax: 10,
  costMicroUsdMax: null,
  priceVersion: null,
};

export const turnRequest = (
  configId: string,
  input: string | TurnInput,
  changes: Partial<TurnRequest> = {},
): TurnRequest => ({
  requestId: 'request-1',
  configId,
  conversationId: null,
  user: null,
  metadata: null,
  input: typeof input === 'string' ? { kind: 'message', text: input, cancelToolCalls: false } : input,
  historyBytesMax: 1_000_000,
  storageBytesMax: null,
  storageBytesReserved: 0,
  limits: NO_LIMITS,
  idempotency: null,
  admit: () => DEMAND,
  isRunning: () => true,
  ...changes,
});

export const figures = {
  latencyMs: 12,
  firstTokenMs: 3,
  usage: {
    inputTokens: 5,
    outputTokens: 2,
    cachedInputTokens: 1,
    cacheWriteInputTokens: 0,
    reasoningTokens: 0,
  },
  usageEstimated: false,
  costMicroUsd: null,
  priceVersion: null,
  content: null,
};

/** Begins a turn that nothing was answered before. */
export function begin(store: TenantStore, request: TurnRequest): BegunTurn {
  const turn = store.beginTurn(request);
  if (turn.kind !== 'begun') throw new Error('The turn was replayed.');
  return turn;
}

/** An end with the model's text and calls. */
export const answered = (
  turn: BegunTurn,
  text: string | null,
  toolCalls: { id: string; name: string; arguments: Record<string, unknown> }[] = [],
): FinishedTurn => {
  const message: MessageDraft = {
    role: 'assistant',
    id: turn.messageId,
    content: text,
    toolCalls,
    providerData: null,
    status: 'complete',
  };
  return { ...figures, status: 'ok', errorCode: null, messages: [...turn.input, message], answer: null };
};

export const failed: FailedTurn = { ...figures, status: 'error', errorCode: 'upstream_unavailable' };

/** A whole turn. */
export function chat(
  store: TenantStore,
  configId: string,
  text: string,
  reply: string,
  changes: Partial<TurnRequest> = {},
): BegunTurn {
  const turn = begin(store, turnRequest(configId, text, changes));
  store.finishTurn(turn, answered(turn, reply));
  return turn;
}
