import { sql } from 'drizzle-orm';
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';
import type { MessageStatus, TurnStatus } from '../store.ts';

// The tables as drizzle sees them. `migrations.ts` makes them; a test holds the two together.

export const tenant = sqliteTable('tenant', {
  id: text().primaryKey().notNull(),
  name: text().notNull(),
  createdAt: integer('created_at').notNull(),
});

export const configs = sqliteTable(
  'configs',
  {
    id: text().primaryKey().notNull(),
    name: text().notNull(),
    version: integer().notNull(),
    createdAt: integer('created_at').notNull(),
  },
  (t) => [uniqueIndex('configs_by_name').on(t.name)],
);

export const configVersions = sqliteTable(
  'config_versions',
  {
    configId: text('config_id')
      .notNull()
      .references(() => configs.id, { onDelete: 'cascade' }),
    version: integer().notNull(),
    name: text().notNull(),
    agentType: text('agent_type').$type<'client-side'>().notNull(),
    systemPrompt: text('system_prompt').notNull(),
    modelConfig: text('model_config').notNull(),
    toolsConfig: text('tools_config').notNull(),
    metadata: text().notNull(),
    createdAt: integer('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.configId, t.version] })],
);

export const conversations = sqliteTable(
  'conversations',
  {
    id: text().primaryKey().notNull(),
    configId: text('config_id').notNull(),
    title: text(),
    user: text(),
    metadata: text().notNull(),
    messageCount: integer('message_count').notNull(),
    historyBytes: integer('history_bytes').notNull(),
    awaitingTools: integer('awaiting_tools', { mode: 'boolean' }).notNull(),
    createdAt: integer('created_at').notNull(),
    updatedAt: integer('updated_at').notNull(),
  },
  (t) => [
    index('conversations_by_config').on(t.configId, t.id),
    index('conversations_by_user').on(t.user, t.id).where(sql`user IS NOT NULL`),
  ],
);

export const messages = sqliteTable(
  'messages',
  {
    conversationId: text('conversation_id')
      .notNull()
      .references(() => conversations.id, { onDelete: 'cascade' }),
    seq: integer().notNull(),
    id: text().notNull(),
    role: text().$type<'user' | 'assistant' | 'tool'>().notNull(),
    content: text(),
    toolCalls: text('tool_calls'),
    toolCallId: text('tool_call_id'),
    toolName: text('tool_name'),
    isError: integer('is_error', { mode: 'boolean' }).notNull(),
    status: text().$type<MessageStatus>().notNull(),
    providerData: text('provider_data'),
    createdAt: integer('created_at').notNull(),
  },
  (t) => [primaryKey({ columns: [t.conversationId, t.seq] })],
);

export const openTurns = sqliteTable('open_turns', {
  id: text().primaryKey().notNull(),
  runId: text('run_id').notNull(),
  requestId: text('request_id').notNull(),
  configId: text('config_id').notNull(),
  configVersion: integer('config_version').notNull(),
  conversationId: text('conversation_id').notNull(),
  user: text(),
  provider: text().notNull(),
  model: text().notNull(),
  createdAt: integer('created_at').notNull(),
  /** Its row in `admissions`, which may be gone. */
  admission: integer(),
  reservedMicroUsd: integer('reserved_micro_usd').notNull().default(0),
  priceVersion: text('price_version'),
  idempotencyKeyHash: text('idempotency_key_hash'),
});

export const turns = sqliteTable(
  'turns',
  {
    id: text().primaryKey().notNull(),
    requestId: text('request_id').notNull(),
    configId: text('config_id').notNull(),
    configVersion: integer('config_version').notNull(),
    conversationId: text('conversation_id').notNull(),
    user: text(),
    provider: text().notNull(),
    model: text().notNull(),
    status: text().$type<TurnStatus>().notNull(),
    errorCode: text('error_code'),
    latencyMs: integer('latency_ms').notNull(),
    firstTokenMs: integer('first_token_ms'),
    inputTokens: integer('input_tokens').notNull(),
    outputTokens: integer('output_tokens').notNull(),
    cachedInputTokens: integer('cached_input_tokens').notNull(),
    reasoningTokens: integer('reasoning_tokens').notNull(),
    usageEstimated: integer('usage_estimated', { mode: 'boolean' }).notNull(),
    costMicroUsd: integer('cost_micro_usd'),
    createdAt: integer('created_at').notNull(),
    cacheWriteInputTokens: integer('cache_write_input_tokens').notNull().default(0),
    priceVersion: text('price_version'),
  },
  (t) => [
    index('turns_by_config').on(t.configId, t.id),
    index('turns_by_conversation').on(t.conversationId, t.id),
    index('turns_by_user').on(t.user, t.id).where(sql`user IS NOT NULL`),
    index('turns_not_ok').on(t.status, t.id).where(sql`status <> 'ok'`),
  ],
);

export const turnContents = sqliteTable('turn_contents', {
  turnId: text('turn_id').primaryKey().notNull(),
  input: text().notNull(),
  output: text().notNull(),
});

export const usageDays = sqliteTable(
  'usage_days',
  {
    day: text().notNull(),
    configId: text('config_id').notNull(),
    model: text().notNull(),
    turns: integer().notNull(),
    errors: integer().notNull(),
    inputTokens: integer('input_tokens').notNull(),
    outputTokens: integer('output_tokens').notNull(),
    cachedInputTokens: integer('cached_input_tokens').notNull(),
    cacheWriteInputTokens: integer('cache_write_input_tokens').notNull(),
    reasoningTokens: integer('reasoning_tokens').notNull(),
    costMicroUsd: integer('cost_micro_usd').notNull(),
    unpricedTurns: integer('unpriced_turns').notNull(),
  },
  (t) => [primaryKey({ columns: [t.day, t.configId, t.model] })],
);

export const admissions = sqliteTable('admissions', {
  seq: integer().primaryKey().notNull(),
  turnId: text('turn_id').notNull(),
  at: integer().notNull(),
  tokens: integer().notNull(),
});

export const admissionState = sqliteTable('admission_state', {
  id: integer().primaryKey().notNull(),
  recording: integer({ mode: 'boolean' }).notNull(),
  tokens: integer().notNull(),
});

export const spend = sqliteTable('spend', {
  month: text().primaryKey().notNull(),
  spentMicroUsd: integer('spent_micro_usd').notNull(),
  reservedMicroUsd: integer('reserved_micro_usd').notNull(),
});

export const idempotency = sqliteTable(
  'idempotency',
  {
    keyHash: text('key_hash').primaryKey().notNull(),
    fingerprint: text().notNull(),
    turnId: text('turn_id').notNull(),
    answer: text(),
    createdAt: integer('created_at').notNull(),
  },
  (t) => [index('idempotency_by_time').on(t.createdAt)],
);
