import type Database from 'better-sqlite3';
import { Column, is, NoopLogger, Param, Placeholder, type Query } from 'drizzle-orm';
import { BetterSQLite3Database, BetterSQLiteSession, PreparedQuery } from 'drizzle-orm/better-sqlite3';
import { NoopCache } from 'drizzle-orm/cache/core';
import { type PreparedQueryConfig, SQLiteSyncDialect } from 'drizzle-orm/sqlite-core';

type Values = Record<string, unknown>;
type NoSchema = Record<string, never>;
type QueryConfig = Omit<PreparedQueryConfig, 'statement' | 'run'>;
/** Of the query, its columns, and how drizzle means to run it. */
type PrepareArguments = Parameters<BetterSQLiteSession<NoSchema, NoSchema>['prepareQuery']>;

/**
 * drizzle over `db`, with prepared queries that cost what SQLite costs. drizzle's own find out anew, at each run, what
 * each parameter and each column is, by their prototypes: measured, 8 µs for an insert that takes SQLite 2, and a turn
 * has sixteen queries. Here that is found out when the query is prepared.
 */
export function quickDrizzle(db: Database.Database): BetterSQLite3Database {
  const dialect = new SQLiteSyncDialect();
  return new BetterSQLite3Database('sync', dialect, new QuickSession(db, dialect), undefined);
}

class QuickSession extends BetterSQLiteSession<NoSchema, NoSchema> {
  readonly #db: Database.Database;

  constructor(db: Database.Database, dialect: SQLiteSyncDialect) {
    super(db, dialect, undefined);
    this.#db = db;
  }

  override prepareQuery<T extends QueryConfig>(...parts: PrepareArguments): PreparedQuery<T> {
    const [query, fields, , , toRows] = parts;
    return new QuickQuery<T>(this.#db, {
      parts,
      bind: binder(query),
      toRow: toRows ? null : rowMapper(fields),
    });
  }
}

/** What was found out about a query. */
interface Shape {
  parts: PrepareArguments;
  bind(values: Values | undefined): unknown[];
  /** Null where drizzle reads the rows itself. */
  toRow: ((row: unknown[]) => Values) | null;
}

/** What drizzle puts there of the joins of a query that it has prepared. */
const JOINS = 'joinsNotNullableMap';

class QuickQuery<T extends QueryConfig> extends PreparedQuery<T> {
  readonly #shape: Shape;

  constructor(db: Database.Database, shape: Shape) {
    const [query, fields, method, isInArrayMode, toRows, metadata, caching] = shape.parts;
    const statement = db.prepare<unknown[]>(query.sql);
    super(
      statement,
      query,
      new NoopLogger(),
      new NoopCache(),
      metadata,
      caching,
      fields,
      method,
      isInArrayMode,
      toRows,
    );
    const { bind, toRow } = shape;
    this.#shape = shape;
    this.run = (values) => statement.run(bind(values));
    if (toRow) {
      statement.raw();
      this.get = (values) => {
        const row = statement.get(bind(values));
        return Array.isArray(row) ? toRow(row) : undefined;
      };
      this.all = (values) => (statement.all(bind(values)) as unknown[][]).map(toRow);
    }
  }

  /** Makes the same query for other files of the same schema; keeps nothing of this one. */
  recipe(): (db: Database.Database) => PreparedQuery<T> {
    const shape = this.#shape;
    const joins: unknown = Reflect.get(this, JOINS);
    return (db) => {
      const query = new QuickQuery<T>(db, shape);
      Reflect.set(query, JOINS, joins);
      return query;
    };
  }
}

/** How a query that was prepared with `quickDrizzle` is made for another file; null for anything else. */
export const recipeOf = (query: unknown): ((db: Database.Database) => unknown) | null =>
  query instanceof QuickQuery ? query.recipe() : null;

/** The values of a query's parameters, in their order. */
function binder(query: Query): (values: Values | undefined) => unknown[] {
  const parameters = query.params.map((parameter) => {
    if (is(parameter, Placeholder)) return { name: parameter.name, encoder: null, constant: null };
    if (is(parameter, Param) && is(parameter.value, Placeholder)) {
      return { name: parameter.value.name, encoder: parameter.encoder, constant: null };
    }
    return { name: null, encoder: null, constant: parameter };
  });
  return (values = {}) =>
    parameters.map(({ name, encoder, constant }) => {
      if (name === null) return constant;
      const value = values[name];
      if (value === undefined) throw new Error(`There is no value for "${name}".`);
      return encoder ? encoder.mapToDriverValue(value) : value;
    });
}

/**
 * Makes an object of a row whose columns are those of tables, or of a join one for each table; null for other queries,
 * which drizzle reads itself.
 */
function rowMapper(fields: PrepareArguments[1]): ((row: unknown[]) => Values) | null {
  const columns: ColumnOfRow[] = [];
  for (const [index, { path, field }] of (fields ?? []).entries()) {
    const name = path.at(-1);
    if (path.length > 2 || name === undefined || !is(field, Column)) return null;
    columns.push({ table: path.length === 2 ? String(path[0]) : null, name, column: field, index });
  }
  const tables = [...new Set(columns.map(({ table }) => table))];
  if (tables.length === 1 && tables[0] === null) return objectMapper(columns);
  const mappers: [string, ColumnOfRow[], (row: unknown[]) => Values][] = [];
  for (const table of tables) {
    if (table === null) return null;
    const own = columns.filter((column) => column.table === table);
    mappers.push([table, own, objectMapper(own)]);
  }
  if (mappers.length === 0) return null;
  return (row) => {
    const object: Values = {};
    for (const [table, own, toObject] of mappers) {
      // Where a left join has found nothing.
      object[table] = own.every(({ index }) => row[index] === null) ? null : toObject(row);
    }
    return object;
  };
}

interface ColumnOfRow {
  /** As the query names it; null where the columns are the query's own. */
  table: string | null;
  name: string;
  column: Column;
  index: number;
}

function objectMapper(columns: ColumnOfRow[]): (row: unknown[]) => Values {
  // With all its names, so that a copy is an object like others of its kind: one that gets more than a dozen names, each
  // from a variable, becomes a hash table, which takes several times the memory.
  const blank: Values = JSON.parse(
    JSON.stringify(Object.fromEntries(columns.map(({ name }) => [name, null]))),
  );
  return (row) => {
    const object = { ...blank };
    for (const { name, column, index } of columns) {
      const value = row[index];
      if (value !== null) object[name] = column.mapFromDriverValue(value);
    }
    return object;
  };
}
