import Database from 'better-sqlite3';
import { createContext } from '../../tenant-schema/sqlite/handle.ts';
import { createStore } from '../../tenant-schema/sqlite/store.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';
import type { TestEngine } from './tenants.ts';

export interface WatchedStore {
  store: TenantStore;
  db: Database.Database;
  /** How SQLite finds the rows of each query that `work` makes for the first time. */
  plansOf(work: () => unknown): { sql: string; plan: string[] }[];
  close(): void;
}

/** A store over a tenant's file of its own, whose queries can be looked at. The engine must have closed the file. */
export function watchStore(world: TestEngine, path: string): WatchedStore {
  const db = new Database(path, { fileMustExist: true });
  // As the engine opens it.
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  const prepare = db.prepare.bind(db) as (sql: string) => Database.Statement;
  let seen: string[] = [];
  db.prepare = ((sql: string) => {
    seen.push(sql);
    return prepare(sql);
  }) as typeof db.prepare;
  const store = createStore(createContext(db, { clock: world.clock, ids: world.ids, runId: 'run' }));
  return {
    store,
    db,
    plansOf(work) {
      seen = [];
      work();
      return seen
        .filter((sql) => /^(select|delete|insert|update)/i.test(sql))
        .map((sql) => ({
          sql,
          plan: prepare(`EXPLAIN QUERY PLAN ${sql}`)
            .all(...sql.replaceAll(/[^?]/g, ''))
            .map((row) => String((row as { detail: string }).detail)),
        }));
    },
    close: () => db.close(),
  };
}

/** Writes log rows as they are, thousands in a moment. Usage is not summed up. */
export function insertTurns(
  db: Database.Database,
  rows: readonly {
    id: string;
    configId: string;
    conversationId?: string;
    user?: string | null;
    status?: string;
    createdAt: number;
  }[],
): void {
  const insert = db.prepare(
    `INSERT INTO turns (id, request_id, config_id, config_version, conversation_id, user, provider, model, status,
       error_code, latency_ms, first_token_ms, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens,
       usage_estimated, cost_micro_usd, created_at)
     VALUES (?, 'request', ?, 1, ?, ?, 'demo', 'demo-1', ?, NULL, 1, NULL, 1, 1, 0, 0, 0, 0, ?)`,
  );
  db.transaction(() => {
    for (const { id, configId, conversationId = configId, user = null, status = 'ok', createdAt } of rows) {
      insert.run(id, configId, conversationId, user, status, createdAt);
    }
  })();
}
