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
]);
