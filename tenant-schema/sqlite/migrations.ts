import type { Migration } from './migrator.ts';

/** Marks a file as a tenant database of ours: "NBST" in ASCII. */
export const TENANT_APPLICATION_ID = 0x4e425354;

/**
 * A tenant database's history. An applied entry is never edited: its text is hashed into every file.
 *
 * Rows lie by their UUIDv7 (`WITHOUT ROWID`), so that new ones append, but where they may be long: messages, answers
 * that are kept, contents of logs. Lists are newest first by id, which is why each index ends with it.
 */
export const TENANT_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: 'configs, conversations, messages, turns',
    sql: `
      CREATE TABLE tenant (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        created_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE configs (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        created_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE UNIQUE INDEX configs_by_name ON configs (name);

      CREATE TABLE config_versions (
        config_id TEXT NOT NULL REFERENCES configs (id) ON DELETE CASCADE,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        agent_type TEXT NOT NULL,
        system_prompt TEXT NOT NULL,
        model_config TEXT NOT NULL,
        tools_config TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (config_id, version)
      ) STRICT, WITHOUT ROWID;

      -- No reference to configs: a conversation stays readable when its config is deleted.
      CREATE TABLE conversations (
        id TEXT NOT NULL PRIMARY KEY,
        config_id TEXT NOT NULL,
        title TEXT,
        user TEXT,
        metadata TEXT NOT NULL,
        message_count INTEGER NOT NULL,
        history_bytes INTEGER NOT NULL,
        awaiting_tools INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX conversations_by_config ON conversations (config_id, id);
      CREATE INDEX conversations_by_user ON conversations (user, id) WHERE user IS NOT NULL;

      CREATE TABLE messages (
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        id TEXT NOT NULL,
        role TEXT NOT NULL,
        content TEXT,
        tool_calls TEXT,
        tool_call_id TEXT,
        tool_name TEXT,
        is_error INTEGER NOT NULL,
        status TEXT NOT NULL,
        provider_data TEXT,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (conversation_id, seq)
      ) STRICT, WITHOUT ROWID;

      -- Turns under way: the lock of their conversation. A row moves to turns when its turn ends.
      CREATE TABLE open_turns (
        id TEXT NOT NULL PRIMARY KEY,
        run_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        config_id TEXT NOT NULL,
        config_version INTEGER NOT NULL,
        conversation_id TEXT NOT NULL UNIQUE,
        user TEXT,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        created_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE turns (
        id TEXT NOT NULL PRIMARY KEY,
        request_id TEXT NOT NULL,
        config_id TEXT NOT NULL,
        config_version INTEGER NOT NULL,
        conversation_id TEXT NOT NULL,
        user TEXT,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        status TEXT NOT NULL,
        error_code TEXT,
        latency_ms INTEGER NOT NULL,
        first_token_ms INTEGER,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cached_input_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        usage_estimated INTEGER NOT NULL,
        cost_micro_usd INTEGER,
        created_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX turns_by_config ON turns (config_id, id);
      CREATE INDEX turns_by_conversation ON turns (conversation_id, id);
      CREATE INDEX turns_by_user ON turns (user, id) WHERE user IS NOT NULL;
      -- Most turns are ok; an index of those would cost each turn and answer no question.
      CREATE INDEX turns_not_ok ON turns (status, id) WHERE status <> 'ok';
    `,
  },
  {
    version: 2,
    name: 'limits, spend, idempotency, usage by day, contents of logs',
    sql: `
      -- The turns admitted within the last minute. Only kept while a limit asks for them.
      CREATE TABLE admissions (
        seq INTEGER NOT NULL PRIMARY KEY,
        turn_id TEXT NOT NULL,
        at INTEGER NOT NULL,
        tokens INTEGER NOT NULL
      ) STRICT;
      -- One row: whether admissions are kept, and the sum of their tokens.
      CREATE TABLE admission_state (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        recording INTEGER NOT NULL,
        tokens INTEGER NOT NULL
      ) STRICT;
      INSERT INTO admission_state (id, recording, tokens) VALUES (1, 0, 0);

      CREATE TABLE spend (
        month TEXT NOT NULL PRIMARY KEY,
        spent_micro_usd INTEGER NOT NULL,
        reserved_micro_usd INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      INSERT INTO spend (month, spent_micro_usd, reserved_micro_usd)
        SELECT strftime('%Y-%m', created_at / 1000, 'unixepoch'), sum(cost_micro_usd), 0 FROM turns
          WHERE cost_micro_usd > 0 GROUP BY 1;

      -- Answers may be long: with row ids, so that the index over the keys stays small.
      CREATE TABLE idempotency (
        key_hash TEXT NOT NULL PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        answer TEXT,
        created_at INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX idempotency_by_time ON idempotency (created_at);

      ALTER TABLE open_turns ADD COLUMN admission INTEGER;
      ALTER TABLE open_turns ADD COLUMN reserved_micro_usd INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE open_turns ADD COLUMN price_version TEXT;
      ALTER TABLE open_turns ADD COLUMN idempotency_key_hash TEXT;

      ALTER TABLE turns ADD COLUMN cache_write_input_tokens INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE turns ADD COLUMN price_version TEXT;

      CREATE TABLE turn_contents (
        turn_id TEXT NOT NULL PRIMARY KEY,
        input TEXT NOT NULL,
        output TEXT NOT NULL
      ) STRICT;

      CREATE TABLE usage_days (
        day TEXT NOT NULL,
        config_id TEXT NOT NULL,
        model TEXT NOT NULL,
        turns INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cached_input_tokens INTEGER NOT NULL,
        cache_write_input_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        cost_micro_usd INTEGER NOT NULL,
        unpriced_turns INTEGER NOT NULL,
        PRIMARY KEY (day, config_id, model)
      ) STRICT, WITHOUT ROWID;
      INSERT INTO usage_days
        SELECT strftime('%Y-%m-%d', created_at / 1000, 'unixepoch'), config_id, model, count(*),
               count(*) FILTER (WHERE status = 'error'), sum(input_tokens), sum(output_tokens),
               sum(cached_input_tokens), 0, sum(reasoning_tokens), coalesce(sum(cost_micro_usd), 0),
               count(*) FILTER (WHERE cost_micro_usd IS NULL)
          FROM turns GROUP BY 1, 2, 3;
    `,
  },
  {
    version: 3,
    name: 'messages with row ids',
    rewritesTables: true,
    sql: `
      -- What is longer than a quarter of a page does not lie within a WITHOUT ROWID table: SQLite gave each such answer
      -- a page of its own. Messages are read by conversation, through the index that the key is.
      ALTER TABLE messages RENAME TO clustered_messages;
      CREATE TABLE messages (
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        id TEXT NOT NULL,
        role TEXT NOT NULL,
        content TEXT,
        tool_calls TEXT,
        tool_call_id TEXT,
        tool_name TEXT,
        is_error INTEGER NOT NULL,
        status TEXT NOT NULL,
        provider_data TEXT,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (conversation_id, seq)
      ) STRICT;
      INSERT INTO messages SELECT * FROM clustered_messages ORDER BY conversation_id, seq;
      DROP TABLE clustered_messages;
    `,
  },
];
