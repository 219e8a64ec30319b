import { closeSync, existsSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../tenant-schema/clock.ts';
import { openBareDatabase } from './bare-store.ts';
import { bareTables, type Layout } from './bare-tables.ts';

// What an operator does with the rows of one tenant, in each layout: take them away, and remove them.

const TABLES = ['configs', 'conversations', 'messages', 'turns', 'usage_days'] as const;
/** A longer transaction would keep all others of a shared file from writing. */
const ROWS_PER_DELETE = 5_000;
const CONVERSATION_MESSAGES = 10;

export const pathOf = (folder: string, layout: Layout, tenantId: string): string =>
  join(folder, `${layout === 'shared' ? 'shared' : tenantId}.db`);

/** Writes so many rows of a tenant, one half messages and one half log rows. */
export function fill(folder: string, layout: Layout, tenantId: string, rows: number): void {
  const db = openBareDatabase(pathOf(folder, layout, tenantId), layout);
  // Nobody needs the file if this fails.
  db.pragma('synchronous = OFF');
  const own = layout === 'shared' ? '@tenant, ' : '';
  // Ids in the order in which they are written, as those of a server are.
  const id = (kind: string, number: string): string =>
    `printf('01900000-0000-7000-8${kind}-%012x', ${number})`;
  const conversation = id('c00', `i / ${CONVERSATION_MESSAGES}`);
  const numbers = `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < @rows / 2 - 1)`;
  const run = (sql: string): void => {
    db.prepare(sql).run(layout === 'shared' ? { tenant: tenantId, rows } : { rows });
  };
  db.transaction(() => {
    run(`${numbers} INSERT INTO conversations
      SELECT ${own} ${conversation}, 'config', NULL, NULL, '{}', ${CONVERSATION_MESSAGES}, 0, i, i FROM n
      WHERE i % ${CONVERSATION_MESSAGES} = 0`);
    run(`${numbers} INSERT INTO messages
      SELECT ${own} ${conversation}, i % ${CONVERSATION_MESSAGES}, ${id('a00', 'i')}, 'user',
        'How do I change the opening hours on my page?', 'complete', i FROM n`);
    run(`${numbers} INSERT INTO turns
      SELECT ${own} ${id('b00', 'i')}, ${id('d00', 'i')}, 'config', 1, ${conversation}, NULL, 'openai', 'bench', 'ok',
        NULL, 900, 1200, 250, 1450, i FROM n`);
  })();
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  syncFile(pathOf(folder, layout, tenantId));
}

/** Writes a file with the rows of one tenant and no other; gives how long that took until it was on the disk. */
export function exportTenant(folder: string, layout: Layout, tenantId: string): number {
  const target = join(folder, 'export.db');
  rmSync(target, { force: true });
  const startedAt = systemClock.monotonic();
  const db = new Database(pathOf(folder, layout, tenantId));
  if (layout === 'files') {
    db.prepare('VACUUM INTO ?').run(target);
  } else {
    new Database(target).exec(bareTables('files')).close();
    db.prepare('ATTACH ? AS target').run(target);
    db.pragma('target.synchronous = OFF');
    db.transaction(() => {
      for (const table of TABLES) {
        const columns = db
          .prepare<[string], string>("SELECT name FROM pragma_table_info(?) WHERE name <> 'tenant_id'")
          .pluck()
          .all(table)
          .join(', ');
        db.prepare(
          `INSERT INTO target.${table} (${columns}) SELECT ${columns} FROM main.${table} WHERE tenant_id = ?`,
        ).run(tenantId);
      }
    })();
  }
  db.close();
  syncFile(target);
  return systemClock.monotonic() - startedAt;
}

export interface Deletion {
  ms: number;
  /** The longest time for which nobody else could write. */
  longestMs: number;
  beforeBytes: number;
  afterBytes: number;
  /** What writing the whole file anew takes, and leaves; 0 where there is no need. */
  vacuumMs: number;
  vacuumedBytes: number;
}

/** Removes a tenant for good. In a shared file in steps, so that the others are kept waiting for each at most. */
export function deleteTenant(folder: string, layout: Layout, tenantId: string): Deletion {
  const path = pathOf(folder, layout, tenantId);
  const beforeBytes = statSync(path).size;
  const startedAt = systemClock.monotonic();
  if (layout === 'files') {
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
    syncFile(dirname(path));
    const ms = systemClock.monotonic() - startedAt;
    const afterBytes = existsSync(path) ? statSync(path).size : 0;
    return { ms, longestMs: 0, beforeBytes, afterBytes, vacuumMs: 0, vacuumedBytes: afterBytes };
  }
  const db = openBareDatabase(path, layout);
  let longestMs = 0;
  const timed = (work: () => number): number => {
    const from = systemClock.monotonic();
    const changes = work();
    longestMs = Math.max(longestMs, systemClock.monotonic() - from);
    return changes;
  };
  for (const table of TABLES) {
    const key = db
      .prepare<[string], string>('SELECT name FROM pragma_table_info(?) WHERE pk > 1 ORDER BY pk')
      .pluck()
      .all(table)
      .join(', ');
    const step = db.prepare(
      `DELETE FROM ${table} WHERE (tenant_id, ${key}) IN
         (SELECT tenant_id, ${key} FROM ${table} WHERE tenant_id = ? LIMIT ${ROWS_PER_DELETE})`,
    );
    while (timed(() => step.run(tenantId).changes) > 0);
  }
  db.pragma('wal_checkpoint(TRUNCATE)');
  const ms = systemClock.monotonic() - startedAt;
  const afterBytes = statSync(path).size;
  const vacuumFrom = systemClock.monotonic();
  db.exec('VACUUM');
  db.pragma('wal_checkpoint(TRUNCATE)');
  const vacuumMs = systemClock.monotonic() - vacuumFrom;
  db.close();
  return { ms, longestMs, beforeBytes, afterBytes, vacuumMs, vacuumedBytes: statSync(path).size };
}

function syncFile(path: string): void {
  const file = openSync(path, 'r');
  fsyncSync(file);
  closeSync(file);
}
