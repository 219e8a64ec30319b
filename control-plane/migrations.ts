import { defineMigrations } from '../tenant-schema/sqlite/migrator.ts';

/** Marks a file as a control database: "NbsC". */
export const CONTROL_APPLICATION_ID = 0x4e627343;

/**
 * The schema of control.db. A step that was released is never edited, only followed by another.
 * WITHOUT ROWID clusters a table by its id: one lookup instead of two, and UUIDv7 ids append.
 */
export const controlMigrations = defineMigrations([
  {
    version: 1,
    name: 'tenants, keys, admin token, audit',
    sql: `
      CREATE TABLE tenants (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
        metadata TEXT NOT NULL,
        limits TEXT NOT NULL,
        created_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX tenants_by_status ON tenants (status, id);

      CREATE TABLE api_keys (
        id TEXT NOT NULL PRIMARY KEY,
        tenant_id TEXT NOT NULL REFERENCES tenants (id),
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        salt BLOB NOT NULL CHECK (length(salt) = 16),
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used_at INTEGER,
        revoked_at INTEGER
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, id);

      CREATE TABLE admin_tokens (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        hash TEXT NOT NULL,
        created_at INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE audit (
        id TEXT NOT NULL PRIMARY KEY,
        at INTEGER NOT NULL,
        actor_id TEXT NOT NULL,
        actor_name TEXT NOT NULL,
        action TEXT NOT NULL,
        tenant_id TEXT,
        target_id TEXT,
        request_id TEXT,
        changes TEXT
      ) STRICT, WITHOUT ROWID;
    `,
  },
  {
    version: 2,
    name: 'the trash',
    sql: `
      ALTER TABLE tenants ADD COLUMN deleted_at INTEGER;
      ALTER TABLE tenants ADD COLUMN purging INTEGER NOT NULL DEFAULT 0 CHECK (purging IN (0, 1));
    `,
  },
  {
    version: 3,
    name: 'key rotation',
    sql: `
      ALTER TABLE api_keys ADD COLUMN replaced_salt BLOB CHECK (length(replaced_salt) = 16);
      ALTER TABLE api_keys ADD COLUMN replaced_hash BLOB CHECK (length(replaced_hash) = 32);
      ALTER TABLE api_keys ADD COLUMN replaced_until INTEGER
        CHECK ((replaced_until IS NULL) = (replaced_hash IS NULL) AND (replaced_hash IS NULL) = (replaced_salt IS NULL));
    `,
  },
  {
    version: 4,
    name: 'what a deleted tenant was before',
    // Of those that are deleted already, the audit knows.
    sql: `
      ALTER TABLE tenants ADD COLUMN status_before TEXT CHECK (status_before IN ('active', 'suspended'));
      UPDATE tenants SET status_before = 'suspended'
        WHERE status = 'deleted' AND 'suspended' = (
          SELECT json_extract(changes, '$.status.from') FROM audit
            WHERE tenant_id = tenants.id AND action = 'tenant.delete' ORDER BY audit.id DESC LIMIT 1
        );
    `,
  },
  {
    version: 5,
    name: 'settings, provider keys, named admin tokens, usage by tenant and day',
    sql: `
      ALTER TABLE tenants ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';

      ALTER TABLE admin_tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'owner'
        CHECK (role IN ('owner', 'operator', 'auditor'));
      ALTER TABLE admin_tokens ADD COLUMN last_used_at INTEGER;
      ALTER TABLE admin_tokens ADD COLUMN revoked_at INTEGER;
      -- A salt of 16 bytes and a digest of 2: most wrong tokens are told by it, without an argon2 verification.
      ALTER TABLE admin_tokens ADD COLUMN tag BLOB CHECK (length(tag) = 18);

      CREATE TABLE provider_keys (
        tenant_id TEXT NOT NULL REFERENCES tenants (id),
        provider TEXT NOT NULL,
        sealed BLOB NOT NULL,
        master_key_id TEXT NOT NULL,
        last4 TEXT NOT NULL,
        updated_at INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, provider)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE usage_days (
        tenant_id TEXT NOT NULL REFERENCES tenants (id),
        day TEXT NOT NULL,
        turns INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cached_input_tokens INTEGER NOT NULL,
        cache_write_input_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        cost_micro_usd INTEGER NOT NULL,
        unpriced_turns INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, day)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX usage_by_day ON usage_days (day, tenant_id);

      -- What all tenants used on a day. Kept by triggers, so that no way of writing the above can forget it.
      CREATE TABLE usage_day_totals (
        day TEXT NOT NULL PRIMARY KEY,
        turns INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cached_input_tokens INTEGER NOT NULL,
        cache_write_input_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        cost_micro_usd INTEGER NOT NULL,
        unpriced_turns INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TRIGGER usage_days_added AFTER INSERT ON usage_days BEGIN
        INSERT INTO usage_day_totals VALUES (
          NEW.day, NEW.turns, NEW.errors, NEW.input_tokens, NEW.output_tokens, NEW.cached_input_tokens,
          NEW.cache_write_input_tokens, NEW.reasoning_tokens, NEW.cost_micro_usd, NEW.unpriced_turns
        ) ON CONFLICT (day) DO UPDATE SET
          turns = turns + NEW.turns,
          errors = errors + NEW.errors,
          input_tokens = input_tokens + NEW.input_tokens,
          output_tokens = output_tokens + NEW.output_tokens,
          cached_input_tokens = cached_input_tokens + NEW.cached_input_tokens,
          cache_write_input_tokens = cache_write_input_tokens + NEW.cache_write_input_tokens,
          reasoning_tokens = reasoning_tokens + NEW.reasoning_tokens,
          cost_micro_usd = cost_micro_usd + NEW.cost_micro_usd,
          unpriced_turns = unpriced_turns + NEW.unpriced_turns;
      END;
      CREATE TRIGGER usage_days_changed AFTER UPDATE ON usage_days BEGIN
        UPDATE usage_day_totals SET
          turns = turns + NEW.turns - OLD.turns,
          errors = errors + NEW.errors - OLD.errors,
          input_tokens = input_tokens + NEW.input_tokens - OLD.input_tokens,
          output_tokens = output_tokens + NEW.output_tokens - OLD.output_tokens,
          cached_input_tokens = cached_input_tokens + NEW.cached_input_tokens - OLD.cached_input_tokens,
          cache_write_input_tokens =
            cache_write_input_tokens + NEW.cache_write_input_tokens - OLD.cache_write_input_tokens,
          reasoning_tokens = reasoning_tokens + NEW.reasoning_tokens - OLD.reasoning_tokens,
          cost_micro_usd = cost_micro_usd + NEW.cost_micro_usd - OLD.cost_micro_usd,
          unpriced_turns = unpriced_turns + NEW.unpriced_turns - OLD.unpriced_turns
          WHERE day = NEW.day;
      END;
      CREATE TRIGGER usage_days_removed AFTER DELETE ON usage_days BEGIN
        UPDATE usage_day_totals SET
          turns = turns - OLD.turns,
          errors = errors - OLD.errors,
          input_tokens = input_tokens - OLD.input_tokens,
          output_tokens = output_tokens - OLD.output_tokens,
          cached_input_tokens = cached_input_tokens - OLD.cached_input_tokens,
          cache_write_input_tokens = cache_write_input_tokens - OLD.cache_write_input_tokens,
          reasoning_tokens = reasoning_tokens - OLD.reasoning_tokens,
          cost_micro_usd = cost_micro_usd - OLD.cost_micro_usd,
          unpriced_turns = unpriced_turns - OLD.unpriced_turns
          WHERE day = OLD.day;
        DELETE FROM usage_day_totals WHERE day = OLD.day AND turns = 0;
      END;

      -- One row: whether everything that was used is in the tables above, and up to when it is in any case.
      CREATE TABLE usage_state (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
        complete_until INTEGER NOT NULL
      ) STRICT;
      INSERT INTO usage_state (id, complete, complete_until) VALUES (1, 0, 0);
    `,
  },
  {
    version: 6,
    name: 'the chain of the audit',
    // Rows of earlier releases are chained when the file is opened first: SQLite has no SHA-256.
    sql: `
      -- Counts from 1 without a gap.
      ALTER TABLE audit ADD COLUMN seq INTEGER;
      ALTER TABLE audit ADD COLUMN actor_kind TEXT NOT NULL DEFAULT 'admin'
        CHECK (actor_kind IN ('admin', 'key', 'system'));
      UPDATE audit SET actor_kind = CASE
        WHEN actor_id = 'system' THEN 'system'
        WHEN actor_name = '' OR actor_id IN (SELECT id FROM api_keys) THEN 'key'
        ELSE 'admin' END;
      -- What a purge removes is hashed with a salt of its own, which goes with it: the chain still holds.
      ALTER TABLE audit ADD COLUMN private_salt BLOB;
      ALTER TABLE audit ADD COLUMN private_hash BLOB;
      -- SHA-256 over that of the row before and this row.
      ALTER TABLE audit ADD COLUMN hash BLOB;
      CREATE UNIQUE INDEX audit_by_seq ON audit (seq);
      CREATE INDEX audit_by_tenant ON audit (tenant_id, id);
      CREATE INDEX audit_by_actor ON audit (actor_id, id);
      CREATE INDEX audit_by_actor_name ON audit (actor_name, id);
      CREATE INDEX audit_by_action ON audit (action, id);

      -- The last row's number and hash, so that rows cut off at the end are missed; without a row of its own, the
      -- audit is not chained yet.
      CREATE TABLE audit_head (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL
      ) STRICT;

      CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit is only added to');
      END;
      CREATE TRIGGER audit_is_final BEFORE UPDATE OF
          id, at, actor_id, actor_kind, action, tenant_id, target_id, request_id, seq, private_hash, hash
          ON audit WHEN OLD.hash IS NOT NULL BEGIN
        SELECT RAISE(ABORT, 'the audit is only added to');
      END;
    `,
  },
  {
    version: 7,
    name: 'sessions of the console',
    sql: `
      CREATE TABLE sessions (
        id TEXT NOT NULL PRIMARY KEY,
        salt BLOB NOT NULL CHECK (length(salt) = 16),
        hash BLOB NOT NULL CHECK (length(hash) = 32),
        admin_token_id TEXT REFERENCES admin_tokens (id) ON DELETE CASCADE,
        api_key_id TEXT REFERENCES api_keys (id) ON DELETE CASCADE,
        -- That of the secret which was given: a key may have two for a while.
        api_key_hash BLOB CHECK (length(api_key_hash) = 32),
        created_at INTEGER NOT NULL,
        last_used_at INTEGER NOT NULL,
        CHECK ((admin_token_id IS NULL) <> (api_key_id IS NULL) AND (api_key_id IS NULL) = (api_key_hash IS NULL))
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX sessions_by_admin_token ON sessions (admin_token_id, id);
      CREATE INDEX sessions_by_api_key ON sessions (api_key_id, id);

      -- Triggers, so that no way of ending a credential can forget its sessions.
      CREATE TRIGGER admin_token_ends_sessions AFTER UPDATE OF revoked_at ON admin_tokens
          WHEN NEW.revoked_at IS NOT NULL BEGIN
        DELETE FROM sessions WHERE admin_token_id = NEW.id;
      END;
      CREATE TRIGGER api_key_ends_sessions AFTER UPDATE OF revoked_at, hash, replaced_hash ON api_keys BEGIN
        DELETE FROM sessions WHERE api_key_id = NEW.id AND (
          NEW.revoked_at IS NOT NULL OR (api_key_hash IS NOT NEW.hash AND api_key_hash IS NOT NEW.replaced_hash)
        );
      END;
    `,
  },
]);
