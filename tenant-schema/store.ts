import type { OpenCall } from './fault.ts';

/** JSON as it came from a client: an object whose keys we do not interpret. */
export type JsonObject = Record<string, unknown>;

/** One page of a list: at most `limit` rows after `cursor` (opaque, from an earlier page). */
export interface Page {
  limit: number;
  cursor: string | null;
}

export interface Listing<T> {
  data: T[];
  /** Give it back as `cursor` for the next page; null at the end. */
  nextCursor: string | null;
}

// ── configs ────────────────────────────────────────────────────────────────────────────────────────────

export interface ModelConfig extends JsonObject {
  provider: string;
  model: string;
}

/** A tool as a client defines it: a bare name, or a name with a description and a JSON Schema. */
export type ToolConfig =
  | string
  | { name: string; description?: string | undefined; parameters?: JsonObject | undefined };

/** Everything of a config that its owner writes. */
export interface ConfigContent {
  name: string;
  agentType: 'client-side';
  systemPrompt: string;
  modelConfig: ModelConfig;
  toolsConfig: ToolConfig[];
  metadata: JsonObject;
}

export interface Config extends ConfigContent {
  id: string;
  version: number;
  createdAt: number;
  /** When the version at hand was made. */
  updatedAt: number;
}

/** As a `PATCH` body: what is absent stays; `metadata` is merged by key, where null removes a key. */
export type ConfigPatch = Partial<ConfigContent>;

// ── conversations ──────────────────────────────────────────────────────────────────────────────────────

export type ConversationStatus = 'idle' | 'busy' | 'awaiting_tools';

export interface Conversation {
  id: string;
  configId: string;
  title: string | null;
  user: string | null;
  metadata: JsonObject;
  status: ConversationStatus;
  messageCount: number;
  createdAt: number;
  updatedAt: number;
}

export interface ConversationFilter {
  configId?: string | undefined;
  user?: string | undefined;
  /** Only those whose title has it in it, ASCII letters in either case. */
  search?: string | undefined;
}

export interface ConversationPatch {
  title?: string | null | undefined;
  metadata?: JsonObject | undefined;
}

export type ToolCall = OpenCall;

/**
 * What a provider wants back, word for word, when the message is sent to it again (signed thinking blocks
 * and the like). Only the adapter of that provider reads it.
 */
export interface ProviderData {
  provider: string;
  data: unknown;
}

/** A message before it is stored. */
export type MessageDraft =
  | { role: 'user'; id: string; content: string }
  | {
      role: 'assistant';
      id: string;
      /** Null where the model only called tools. */
      content: string | null;
      toolCalls: ToolCall[];
      providerData: ProviderData | null;
      /** `incomplete`: the client left before the model had ended. */
      status: MessageStatus;
    }
  | { role: 'tool'; id: string; toolCallId: string; name: string; content: string; isError: boolean };

export type MessageStatus = 'complete' | 'incomplete';

/** A message as it is listed. */
export interface StoredMessage {
  id: string;
  role: 'user' | 'assistant' | 'tool';
  content: string | null;
  toolCalls: ToolCall[];
  toolCallId: string | null;
  status: MessageStatus;
  createdAt: number;
}

// ── turns ──────────────────────────────────────────────────────────────────────────────────────────────

/** A client's answer to one open call; without an id, a name that fits exactly one open call will do. */
export interface ToolResult {
  toolCallId?: string | undefined;
  name?: string | undefined;
  content: string;
  isError: boolean;
}

export type TurnInput =
  | { kind: 'message'; text: string; cancelToolCalls: boolean }
  | { kind: 'tool_results'; results: ToolResult[] };

/** What a tenant may use; null is unlimited. */
export interface TurnLimits {
  /** Turns in any 60 seconds. */
  requestsPerMinute: number | null;
  /** Input and output tokens in any 60 seconds. */
  tokensPerMinute: number | null;
  concurrentTurns: number | null;
  /** In a UTC month. */
  monthlySpendMicroUsd: number | null;
}

/** How large a turn is, known before anything of its history is read. */
export interface TurnSize {
  historyBytes: number;
  historyMessages: number;
  /** What the client brings. */
  inputBytes: number;
  inputMessages: number;
}

/** What a turn may come to use, reckoned before it begins. */
export interface TurnDemand {
  /** Estimated. */
  inputTokens: number;
  outputTokensMax: number;
  /** What it costs at most. Null where no price is known. */
  costMicroUsdMax: number | null;
  /** Which price list said so. Null where no price is known. */
  priceVersion: string | null;
}

/** Names a request that may come again; both are SHA-256 in hexadecimal, so that no text of a client is kept. */
export interface IdempotencyKey {
  keyHash: string;
  /** Of path and body: another one under the same key is a conflict. */
  fingerprint: string;
}

export interface TurnRequest {
  requestId: string;
  configId: string;
  /** Null begins a new conversation. */
  conversationId: string | null;
  /** Kept on a new conversation; on an old one it replaces what was there. */
  user: string | null;
  /** Kept on a new conversation; on an old one it is merged by key. */
  metadata: JsonObject | null;
  input: TurnInput;
  /** Stored history over this many bytes is a `history_too_long`. */
  historyBytesMax: number;
  /** A file that takes so much admits no turn; null is no limit. */
  storageBytesMax: number | null;
  /** What the tenant's running turns and this one are expected to add; see `expectedBytes`. */
  storageBytesReserved: number;
  limits: TurnLimits;
  /** Null: the request is taken for a new one. */
  idempotency: IdempotencyKey | null;
  /**
   * Called inside the transaction with the config that the turn would use; throws to refuse the turn. Pure.
   * @returns what the limits are asked for
   */
  admit(config: Config, size: TurnSize): TurnDemand;
  /** Whether a turn of this run is still at work; one that is not was lost and no longer blocks. */
  isRunning(turnId: string): boolean;
}

/** One limit of a rolling minute, as it stands. */
export interface WindowStanding {
  limit: number;
  remaining: number;
  /** Until all of it is there again, where nothing more is used. */
  resetMs: number;
}

/** How a tenant's rolling limits stand; null for one that is not set. */
export interface LimitStanding {
  requests: WindowStanding | null;
  tokens: WindowStanding | null;
}

/** A request that came again: what its turn had answered. */
export interface ReplayedTurn {
  kind: 'replayed';
  answer: JsonObject;
}

/** What `beginTurn` hands out. The conversation belongs to this turn until it is finished or failed. */
export interface BegunTurn {
  kind: 'begun';
  id: string;
  conversationId: string;
  /** The id that the assistant's message will have. */
  messageId: string;
  /** As in the request; laid over the conversation's own when the turn is finished. */
  user: string | null;
  metadata: JsonObject | null;
  config: Config;
  /** What the conversation holds, in order. */
  history: MessageDraft[];
  /** What this turn adds before the model's answer; stored with it, not before. */
  input: MessageDraft[];
  createdAt: number;
  /** This turn counted. */
  standing: LimitStanding;
}

export interface TokenUsage {
  /** All input tokens: those read from a cache and those written to one included. */
  inputTokens: number;
  /** All output tokens, reasoning included. */
  outputTokens: number;
  /** Read from the provider's cache. */
  cachedInputTokens: number;
  /** Written to the provider's cache. */
  cacheWriteInputTokens: number;
  reasoningTokens: number;
}

/** What was said in a turn, as far as its log keeps it. */
export interface TurnContent {
  input: string;
  output: string;
}

/** The figures of a turn's end, whatever the end was. */
export interface TurnFigures {
  latencyMs: number;
  firstTokenMs: number | null;
  usage: TokenUsage;
  /** True where `usage` was guessed from bytes because the provider never said. */
  usageEstimated: boolean;
  /** Null where no price is known. */
  costMicroUsd: number | null;
  /** Which price list was asked; null where no price is known. */
  priceVersion: string | null;
  /** Kept with the log row; null keeps nothing. */
  content: TurnContent | null;
}

export interface FinishedTurn extends TurnFigures {
  status: 'ok' | 'aborted';
  errorCode: string | null;
  /** `input` of the begun turn and then the assistant's message. */
  messages: MessageDraft[];
  /** What a request that comes again under the turn's idempotency key is answered; null frees the key. */
  answer: JsonObject | null;
}

/** An end that leaves the conversation as it was before the turn. */
export interface FailedTurn extends TurnFigures {
  status: 'error' | 'aborted';
  errorCode: string;
}

export type TurnStatus = 'ok' | 'error' | 'aborted';

export interface TurnLog {
  id: string;
  requestId: string;
  configId: string;
  configVersion: number;
  conversationId: string;
  user: string | null;
  provider: string;
  model: string;
  status: TurnStatus;
  errorCode: string | null;
  latencyMs: number;
  firstTokenMs: number | null;
  usage: TokenUsage;
  usageEstimated: boolean;
  costMicroUsd: number | null;
  priceVersion: string | null;
  createdAt: number;
}

/** A log row with what was said in its turn; null where that was not kept. */
export interface TurnLogDetail extends TurnLog {
  content: TurnContent | null;
}

/** What one step of removing log rows has done. */
export interface PrunedLogs {
  removed: number;
  /** Whether another step has something to do. */
  isMore: boolean;
}

/** What one UTC day's turns came to. */
export interface UsageDay {
  /** `YYYY-MM-DD` */
  day: string;
  turns: number;
  errors: number;
  usage: TokenUsage;
  /** The sum of the costs that are known. */
  costMicroUsd: number;
  /** Turns whose cost is unknown. */
  unpricedTurns: number;
}

/** A time range in epoch milliseconds: from `since` on, up to but without `until`. */
export interface TimeRange {
  since?: number | undefined;
  until?: number | undefined;
}

export interface LogFilter extends TimeRange {
  configId?: string | undefined;
  conversationId?: string | undefined;
  user?: string | undefined;
  status?: TurnStatus | undefined;
}

export type UsageGroup = 'day' | 'model' | 'config';

/** The sum of the log rows that share `key` (a UTC day `YYYY-MM-DD`, a model's name or a config's id). */
export interface UsageSum {
  key: string;
  turns: number;
  errors: number;
  usage: TokenUsage;
  /** Null where the cost of any of the rows is unknown. */
  costMicroUsd: number | null;
}

// ── the store ──────────────────────────────────────────────────────────────────────────────────────────

/**
 * One tenant's data as verbs. Each verb is one transaction, takes and returns plain values, and throws a
 * `Fault`: `not_found` for an id that is not in this tenant's database, whatever the reason.
 *
 * A store is only valid inside the `use` that gave it.
 */
export interface TenantStore {
  /** @throws `already_exists` when the name is taken, `storage_quota_exceeded` */
  createConfig(content: ConfigContent): Config;
  listConfigs(page: Page): Listing<Config>;
  getConfig(id: string): Config;
  /** Makes the next version, unless the patch changes nothing. @throws as `createConfig` */
  updateConfig(id: string, patch: ConfigPatch): Config;
  /** Conversations and logs of the config stay readable. */
  deleteConfig(id: string): void;
  /** Newest version first. */
  listConfigVersions(id: string, page: Page): Listing<Config>;
  /** Makes a new version with the content of an old one. @throws as `createConfig` */
  rollbackConfig(id: string, version: number): Config;

  /**
   * Admits a turn: reads the config and the history, takes the conversation, reserves what the limits are asked for,
   * writes an open log row. Or gives back what the same request was answered before, which uses nothing.
   * @throws `idempotency_conflict`, `idempotency_in_progress`, `storage_quota_exceeded`, `not_found`, `conversation_busy`,
   *   `tool_results_pending`, `validation_failed` (tool results that do not answer exactly the open calls),
   *   `history_too_long`, `rate_limited`, `concurrency_limited`, `budget_exceeded`, or what `admit` throws. Nothing is
   *   stored and nothing is used up then.
   */
  beginTurn(request: TurnRequest): BegunTurn | ReplayedTurn;
  /** Stores the messages, closes the log row and frees the conversation. False if the turn had been closed before: nothing is stored then. */
  finishTurn(turn: BegunTurn, end: FinishedTurn): boolean;
  /** Closes the log row and frees the conversation, which is as it was before. False if the turn had been closed before. */
  failTurn(turn: BegunTurn, end: FailedTurn): boolean;

  /** Newest first. With `search`, a page may be short of rows, or empty, and still have a next one. */
  listConversations(filter: ConversationFilter, page: Page): Listing<Conversation>;
  getConversation(id: string): Conversation;
  /** @throws `storage_quota_exceeded` where it would grow beyond the limit */
  updateConversation(id: string, patch: ConversationPatch): Conversation;
  /** @throws `conversation_busy` while a turn runs on it. */
  deleteConversation(id: string, isRunning: (turnId: string) => boolean): void;
  /** Newest first. */
  listMessages(conversationId: string, page: Page): Listing<StoredMessage>;

  /** Turns that have ended, newest first. */
  listLogs(filter: LogFilter, page: Page): Listing<TurnLog>;
  getLog(id: string): TurnLogDetail;
  /**
   * Removes log rows from before `before` (epoch milliseconds), oldest first and at most `countMax` of them, with what
   * was said in their turns; where there are none, gives unused pages back to the disk, a few at a time. What the rows
   * summed to stays in the usage. May come back after a power cut.
   */
  pruneLogs(before: number, countMax: number): PrunedLogs;
  /** Whether `pruneLogs` would do anything. Costs a look. */
  hasLogsToPrune(before: number): boolean;
  /** Usage by day, oldest first: of all days, or from `since` (`YYYY-MM-DD`) on. */
  usageByDay(since?: string): UsageDay[];
  /** What this UTC month's turns have cost and hold reserved. */
  spendOfMonth(): { month: string; spentMicroUsd: number; reservedMicroUsd: number };
  /** What the tenant's data take, in bytes: what `storageBytesMax` is about. */
  usedBytes(): number;
  /** How many turns run now: what `concurrentTurns` is about. */
  runningTurns(): number;
  /** How the tenant's rolling limits stand now. */
  standing(limits: TurnLimits): LimitStanding;
  /** Days newest first; models and configs by key. */
  sumUsage(groupBy: UsageGroup, range: TimeRange, page: Page): Listing<UsageSum>;

  /** The file keeps its tenant's name so that a lost control database can be rebuilt. */
  setTenantName(name: string): void;
}
