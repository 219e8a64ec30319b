import type { Migration } from './migrator.ts';

/** Marks a file as a tenant database of ours: "NBST" in ASCII. */
export const TENANT_APPLICATION_ID = 0x4e425354;

/**
 * A tenant database's history. An applied entry is never edited: its text is hashed into every file.
 *
 * Rows that are read together lie together (`WITHOUT ROWID`): a conversation's messages by sequence, and
 * everything else by UUIDv7, so that new rows append. Lists are newest first by id, which is why each index
 * ends with it.
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
];
