import type { Database } from 'better-sqlite3';
import { expect } from 'chai';
import { getTableConfig, type SQLiteTable } from 'drizzle-orm/sqlite-core';

interface ColumnInfo {
  name: string;
  type: string;
  notnull: number;
  pk: number;
}

interface ForeignKeyInfo {
  id: number;
  seq: number;
  table: string;
  from: string;
  to: string;
}

/**
 * Expects a migrated file to have exactly the tables that drizzle was told of (and the migration runner's own),
 * with the same columns, types, NOT NULLs, primary keys, foreign keys and index columns, and each table STRICT.
 */
export function expectSchemaToMatch(db: Database, tables: readonly SQLiteTable[]): void {
  const inFile = db
    .prepare<[], { name: string; strict: number }>(
      `SELECT name, strict FROM pragma_table_list
       WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migrations'`,
    )
    .all();
  const names = tables.map((table) => getTableConfig(table).name);
  expect(inFile.map(({ name }) => name)).to.have.members(names);
  expect(inFile.filter(({ strict }) => strict === 0).map(({ name }) => name)).to.deep.equal([]);
  for (const table of tables) expect(inTheFile(db, table)).to.deep.equal(asDescribed(table));
}

function inTheFile(db: Database, table: SQLiteTable) {
  const { name } = getTableConfig(table);
  const columns = db.prepare<[string], ColumnInfo>('SELECT * FROM pragma_table_xinfo(?)').all(name);
  const foreignKeys = db
    .prepare<[string], ForeignKeyInfo>('SELECT * FROM pragma_foreign_key_list(?)')
    .all(name);
  const indexes = db
    .prepare<[string], { name: string; unique: number; origin: string }>('SELECT * FROM pragma_index_list(?)')
    .all(name)
    .filter(({ origin }) => origin === 'c');
  const indexColumns = db.prepare<[string], string | null>('SELECT name FROM pragma_index_info(?)').pluck();
  return {
    name,
    columns: columns
      .map((column) => ({
        name: column.name,
        type: column.type.toLowerCase(),
        notNull: column.notnull === 1,
      }))
      .sort(byName),
    primaryKey: columns
      .filter(({ pk }) => pk > 0)
      .sort((a, b) => a.pk - b.pk)
      .map((column) => column.name),
    foreignKeys: [...new Set(foreignKeys.map(({ id }) => id))]
      .map((id) => {
        const parts = foreignKeys.filter((part) => part.id === id).sort((a, b) => a.seq - b.seq);
        return `${parts.map(({ from }) => from)} -> ${parts[0]?.table} ${parts.map(({ to }) => to)}`;
      })
      .sort(),
    indexes: indexes
      .map((index) => ({
        name: index.name,
        unique: index.unique === 1,
        columns: indexColumns.all(index.name),
      }))
      .sort(byName),
  };
}

function asDescribed(table: SQLiteTable): ReturnType<typeof inTheFile> {
  const config = getTableConfig(table);
  const named = (columns: readonly object[]) =>
    columns.map((column) => ('name' in column && typeof column.name === 'string' ? column.name : null));
  return {
    name: config.name,
    columns: config.columns
      .map((column) => ({
        name: column.name,
        type: column.getSQLType().toLowerCase(),
        notNull: column.notNull,
      }))
      .sort(byName),
    primaryKey: [
      ...config.columns.filter((column) => column.primary),
      ...config.primaryKeys.flatMap((key) => key.columns),
    ].map(({ name }) => name),
    foreignKeys: config.foreignKeys
      .map((key) => {
        const { columns, foreignTable, foreignColumns } = key.reference();
        return `${named(columns)} -> ${getTableConfig(foreignTable).name} ${named(foreignColumns)}`;
      })
      .sort(),
    indexes: config.indexes
      .map(({ config: index }) => ({
        name: index.name,
        unique: index.unique,
        columns: named(index.columns),
      }))
      .sort(byName),
  };
}

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
