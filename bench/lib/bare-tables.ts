/** A file for each tenant, or one for all with a column that says whose a row is. */
export type Layout = 'files' | 'shared';

/**
 * The tables that a turn needs, laid out as the server lays out its own: rows that are read together lie together, new
 * ones append, and every list and sum has its index. Where tenants share a file, each key and index begins with the
 * tenant, so that one tenant's rows lie together too.
 */
export function bareTables(layout: Layout): string {
  const column = layout === 'shared' ? 'tenant_id TEXT NOT NULL,' : '';
  const key = layout === 'shared' ? 'tenant_id, ' : '';
  return `
    CREATE TABLE configs (
      ${column}
      id TEXT NOT NULL,
      version INTEGER NOT NULL,
      system_prompt TEXT NOT NULL,
      model_config TEXT NOT NULL,
      PRIMARY KEY (${key}id)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE conversations (
      ${column}
      id TEXT NOT NULL,
      config_id TEXT NOT NULL,
      title TEXT,
      user TEXT,
      metadata TEXT NOT NULL,
      message_count INTEGER NOT NULL,
      busy INTEGER NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      PRIMARY KEY (${key}id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX conversations_by_config ON conversations (${key}config_id, id);
    CREATE INDEX conversations_by_user ON conversations (${key}user, id) WHERE user IS NOT NULL;

    CREATE TABLE messages (
      ${column}
      conversation_id TEXT NOT NULL,
      seq INTEGER NOT NULL,
      id TEXT NOT NULL,
      role TEXT NOT NULL,
      content TEXT,
      status TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (${key}conversation_id, seq)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE turns (
      ${column}
      id TEXT NOT NULL,
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
      input_tokens INTEGER NOT NULL,
      output_tokens INTEGER NOT NULL,
      cost_micro_usd INTEGER,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (${key}id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX turns_by_config ON turns (${key}config_id, id);
    CREATE INDEX turns_by_conversation ON turns (${key}conversation_id, id);
    CREATE INDEX turns_by_user ON turns (${key}user, id) WHERE user IS NOT NULL;
    CREATE INDEX turns_not_ok ON turns (${key}status, id) WHERE status <> 'ok';

    CREATE TABLE usage_days (
      ${column}
      day TEXT NOT NULL,
      config_id TEXT NOT NULL,
      model TEXT NOT NULL,
      turns INTEGER NOT NULL,
      input_tokens INTEGER NOT NULL,
      output_tokens INTEGER NOT NULL,
      cost_micro_usd INTEGER NOT NULL,
      PRIMARY KEY (${key}day, config_id, model)
    ) STRICT, WITHOUT ROWID;
  `;
}
