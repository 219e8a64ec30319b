import type { TenantIdentity } from '../../control-plane/types.ts';
import type { Fault } from '../../tenant-schema/fault.ts';
import type {
  IdempotencyKey,
  JsonObject,
  LimitStanding,
  TokenUsage,
  ToolCall,
  TurnInput,
} from '../../tenant-schema/store.ts';
import type { FinishReason } from '../providers/provider.ts';

/** One chat request, validated. */
export interface ChatRequest {
  identity: TenantIdentity;
  requestId: string;
  configId: string;
  conversationId: string | null;
  input: TurnInput;
  templateVars: Record<string, string>;
  user: string | null;
  metadata: JsonObject | null;
  /** Names a request that may come again; its turn runs to its end even if the client leaves. */
  idempotency: IdempotencyKey | null;
}

/** What a turn answers with, plain or as the `done` event. */
export interface ChatAnswer {
  /** Null where the model only called tools. */
  response: string | null;
  conversationId: string;
  messageId: string;
  toolCalls: ToolCall[];
  finishReason: FinishReason;
  model: string;
  usage: TokenUsage;
  /** True where `usage` was guessed from bytes because the provider never said. */
  usageEstimated: boolean;
  costMicroUsd: number | null;
}

/** What a turn says while it runs. */
export type TurnEvent = { type: 'text'; text: string } | { type: 'tool_call'; call: ToolCall };

/** A request that came again, under the same idempotency key, after its turn had ended. */
export interface ReplayedAnswer {
  kind: 'replayed';
  answer: ChatAnswer;
}

/** A turn that has been admitted and holds its conversation. */
export interface Turn {
  kind: 'begun';
  readonly conversationId: string;
  readonly messageId: string;
  /** How the tenant's rolling limits stood when the turn began. */
  readonly standing: LimitStanding;
  /**
   * Asks the model and settles the turn, exactly once, whatever happens. To be called once, at once.
   * @param clientGone aborts the turn when the client goes away, unless its request may come again.
   * @param emit is told every piece as it comes; it may return a promise to slow the upstream down.
   * @throws a `Fault` once the turn is settled as failed or aborted.
   */
  run(clientGone: AbortSignal, emit: (event: TurnEvent) => void | Promise<void>): Promise<ChatAnswer>;
}

export interface Agent {
  /**
   * Admits a turn, or gives back what the same request was answered before.
   * @throws whatever keeps it from beginning, before anything is stored.
   */
  begin(request: ChatRequest): Promise<Turn | ReplayedAnswer>;
  /** Whether this turn is at work in this process. */
  isRunning(turnId: string): boolean;
  /**
   * Runs `work` while no turn of the tenant runs: those that do are aborted with `reason` and settled first, and
   * those that would begin wait until it is done.
   */
  paused<T>(tenantId: string, reason: Fault, work: () => Promise<T>): Promise<T>;
  /** Tries again to write the ends of turns that could not be written. */
  settleLeft(): Promise<void>;
  /** Resolves when no turn runs; after `deadlineMs` those that still do are aborted first. */
  drain(deadlineMs: number): Promise<void>;
}
