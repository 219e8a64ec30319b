import Database from 'better-sqlite3';
import { expect } from 'chai';
import { bareTables } from '../../bench/lib/bare-tables.ts';
import { TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';

const TABLES = ['conversations', 'messages', 'turns', 'usage_days'] as const;

/** The columns of a table's key and of each index, in their order. */
function layoutOf(sql: string): Record<string, string[]> {
  const db = new Database(':memory:');
  try {
    db.exec(sql);
    const layout: Record<string, string[]> = {};
    for (const table of TABLES) {
      const key = db.prepare<[string], string>(
        'SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk',
      );
      layout[table] = key.pluck().all(table);
      const indexes = db.prepare<[string], string>(
        "SELECT name FROM pragma_index_list(?) WHERE origin = 'c' ORDER BY name",
      );
      for (const index of indexes.pluck().all(table)) {
        const columns = db.prepare<[string], string>('SELECT name FROM pragma_index_info(?) ORDER BY seqno');
        layout[index] = columns.pluck().all(index);
      }
    }
    return layout;
  } finally {
    db.close();
  }
}

describe('the tables that benchmarks compare ours with', () => {
  const ours = layoutOf(TENANT_MIGRATIONS.map(({ sql }) => sql).join('\n'));

  it('are laid out and indexed as ours', () => {
    expect(layoutOf(bareTables('files'))).to.deep.equal(ours);
  });

  it('lead every key and index with the tenant where a database is shared', () => {
    const led = Object.entries(ours).map(([name, columns]) => [name, ['tenant_id', ...columns]]);
    expect(layoutOf(bareTables('shared'))).to.deep.equal(Object.fromEntries(led));
  });
});
