import Database from 'better-sqlite3';
import { expect } from 'chai';
import { eq, sql } from 'drizzle-orm';
import { sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { quickDrizzle } from '../../tenant-schema/sqlite/quick-drizzle.ts';
import { StatementRecipes, statementsOf } from '../../tenant-schema/sqlite/statements.ts';

const things = sqliteTable('things', { id: text().primaryKey().notNull(), owner: text().notNull() });

describe('statements that files have in common', () => {
  const open: Database.Database[] = [];
  afterEach(() => {
    for (const db of open.splice(0)) db.close();
  });

  /** The statements of a file whose things are all its own; counts how often each was written down. */
  function handle(owner: string, recipes: StatementRecipes, written: string[]) {
    const db = new Database(':memory:');
    open.push(db);
    db.exec('CREATE TABLE things (id TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL)');
    db.prepare('INSERT INTO things VALUES (?, ?), (?, ?)').run('a', owner, 'b', owner);
    const orm = quickDrizzle(db);
    const { prepared, preparedByShape } = statementsOf(db, recipes);
    return {
      db,
      all: prepared(() => {
        written.push('all');
        return orm.select().from(things).prepare();
      }),
      some: preparedByShape((shape) => {
        written.push(`some ${shape.join()}`);
        const byId = shape.includes('id') ? eq(things.id, sql.placeholder('id')) : undefined;
        return orm.select({ id: things.id, owner: things.owner }).from(things).where(byId).prepare();
      }),
      count: prepared(() => {
        written.push('count');
        return db.prepare('SELECT count(*) FROM things').pluck();
      }),
    };
  }

  it('are written down once, and read the file of the handle that they are asked of', () => {
    const recipes = new StatementRecipes();
    const written: string[] = [];
    const first = handle('first', recipes, written);
    const second = handle('second', recipes, written);
    for (const [name, { all, some }] of Object.entries({ first, second })) {
      expect(all().all()).to.deep.equal([
        { id: 'a', owner: name },
        { id: 'b', owner: name },
      ]);
      expect(some({ id: 'b' }).all({ id: 'b' })).to.deep.equal([{ id: 'b', owner: name }]);
      expect(some({}).all({})).to.have.length(2);
    }
    expect(written).to.deep.equal(['all', 'some id', 'some ']);
  });

  it('go on when the file is closed for which they were written down', () => {
    const recipes = new StatementRecipes();
    const first = handle('first', recipes, []);
    first.all().all();
    first.db.close();
    expect(handle('second', recipes, []).all().get()).to.deep.equal({ id: 'a', owner: 'second' });
  });

  it('are made for each handle where they are not of drizzle', () => {
    const recipes = new StatementRecipes();
    const written: string[] = [];
    for (const name of ['first', 'second']) expect(handle(name, recipes, written).count().get()).to.equal(2);
    expect(written).to.deep.equal(['count', 'count']);
  });
});
