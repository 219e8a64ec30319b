import Database from 'better-sqlite3';
import { createIds } from '../../tenant-schema/ids.ts';
import { createContext } from '../../tenant-schema/sqlite/handle.ts';
import { TENANT_APPLICATION_ID, TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';
import { defineMigrations, migrate } from '../../tenant-schema/sqlite/migrator.ts';
import { createStore } from '../../tenant-schema/sqlite/store.ts';
import type { TenantStore, UsageDay } from '../../tenant-schema/store.ts';
import { configContent, ManualClock } from './tenants.ts';

const migrations = defineMigrations(TENANT_MIGRATIONS);

export interface MemoryStore {
  store: TenantStore;
  clock: ManualClock;
  configId: string;
  /** What the engine was told of. */
  reported: UsageDay[];
  /** Everything in it, table by table. */
  content(): unknown;
  /** The first value of an answer. */
  ask(sql: string): unknown;
  close(): void;
}

/** A tenant's data in memory, for tests that take thousands of turns. */
export function memoryStore(): MemoryStore {
  const db = new Database(':memory:');
  const clock = new ManualClock();
  const ids = createIds(clock);
  migrate(db, { applicationId: TENANT_APPLICATION_ID, migrations, now: clock.now() });
  db.prepare('INSERT INTO tenant VALUES (?, ?, ?)').run(ids(), 'Acme', clock.now());
  const reported: UsageDay[] = [];
  const onUsage = (usage: UsageDay): void => void reported.push(usage);
  const store = createStore(createContext(db, { clock, ids, runId: ids(), onUsage }));
  return {
    store,
    clock,
    reported,
    configId: store.createConfig(configContent()).id,
    content: () => contentOf(db),
    ask: (sql) => db.prepare(sql).pluck().get(),
    close: () => db.close(),
  };
}

/** Everything in a database, table by table. */
export function contentOf(db: Database.Database): Record<string, unknown[]> {
  const tables = db
    .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    .pluck()
    .all();
  return Object.fromEntries(tables.map((name) => [name, db.prepare(`SELECT * FROM ${name}`).all()]));
}
