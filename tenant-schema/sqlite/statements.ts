import type Database from 'better-sqlite3';
import { recipeOf } from './quick-drizzle.ts';

/** Statements of one handle. */
export interface Statements {
  /** A statement that is compiled at its first use and kept with the handle. */
  prepared<S>(compile: () => S): () => S;
  /** Statements of one family, told apart by which filters they have; each is compiled at its first use. */
  preparedByShape<S>(compile: (shape: string[]) => S): (filters: object) => S;
}

type Recipe = (db: Database.Database) => unknown;

/**
 * How statements are made that files of the same schema have in common. To write a query down and to find out about its
 * parameters and columns takes drizzle several times what it takes SQLite to compile it, some milliseconds for the
 * statements of a turn: it is done for the first file that is opened, and not for each.
 */
export class StatementRecipes {
  readonly #recipes = new Map<string, Recipe>();

  make<S>(db: Database.Database, name: string, compile: () => S): S {
    const known = this.#recipes.get(name);
    // Made by the same `compile` on another handle, and so of the same type.
    if (known) return known(db) as S;
    const statement = compile();
    const recipe = recipeOf(statement);
    if (recipe) this.#recipes.set(name, recipe);
    return statement;
  }
}

/**
 * Statements over `db`. They are named by the order in which they are declared, which must be the same at each handle
 * that shares the recipes; nothing in their text may differ between these but through parameters.
 */
export function statementsOf(db: Database.Database, recipes: StatementRecipes): Statements {
  let declared = 0;
  return {
    prepared<S>(compile: () => S) {
      const name = String(declared++);
      let statement: S | undefined;
      return () => {
        statement ??= recipes.make(db, name, compile);
        return statement;
      };
    },

    preparedByShape<S>(compile: (shape: string[]) => S) {
      const name = String(declared++);
      const statements = new Map<string, S>();
      return (filters) => {
        const shape = Object.entries(filters)
          .filter(([, value]) => value !== undefined && value !== null)
          .map(([filter]) => filter);
        const key = shape.join();
        const known = statements.get(key);
        if (known) return known;
        const made = recipes.make(db, `${name} ${key}`, () => compile(shape));
        statements.set(key, made);
        return made;
      };
    },
  };
}
