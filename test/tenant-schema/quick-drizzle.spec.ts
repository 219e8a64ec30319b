import Database from 'better-sqlite3';
import { expect } from 'chai';
import { eq, sql } from 'drizzle-orm';
import { type BetterSQLite3Database, drizzle } from 'drizzle-orm/better-sqlite3';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { quickDrizzle } from '../../tenant-schema/sqlite/quick-drizzle.ts';

const things = sqliteTable('things', {
  id: text().primaryKey().notNull(),
  isOpen: integer('is_open', { mode: 'boolean' }).notNull(),
  changedAt: integer('changed_at', { mode: 'timestamp_ms' }),
  tags: text({ mode: 'json' }).$type<string[]>(),
});

const notes = sqliteTable('notes', { thingId: text('thing_id').notNull(), line: text() });

describe('prepared queries', () => {
  let db: Database.Database;
  beforeEach(() => {
    db = new Database(':memory:');
    db.exec(
      'CREATE TABLE things (id TEXT PRIMARY KEY NOT NULL, is_open INTEGER NOT NULL, changed_at INTEGER, tags TEXT)',
    );
    db.exec('CREATE TABLE notes (thing_id TEXT NOT NULL, line TEXT)');
  });
  afterEach(() => db.close());

  const insert = (orm: BetterSQLite3Database) =>
    orm
      .insert(things)
      .values({
        id: sql.placeholder('id'),
        isOpen: true,
        changedAt: sql.placeholder('changedAt'),
        tags: sql.placeholder('tags'),
      })
      .prepare();

  it('write and read what drizzle’s own do, whatever a column makes of its values', () => {
    const both = [drizzle({ client: db }), quickDrizzle(db)];
    const rows = both.map((orm, index) => {
      const id = `t-${index}`;
      const { changes } = insert(orm).run({ id, changedAt: new Date(1000), tags: ['a'] });
      db.prepare('INSERT INTO things (id, is_open) VALUES (?, 0)').run(`${id}-empty`);
      const byId = eq(things.id, sql.placeholder('id'));
      const whole = orm.select().from(things).where(byId).prepare();
      const renamed = orm.select({ open: things.isOpen }).from(things).where(byId).prepare();
      const computed = orm.select({ count: sql<number>`count(*)` }).from(things).prepare();
      const joined = orm.select({ thing: things, n: things.id }).from(things).where(byId).prepare();
      const ofThing = eq(notes.thingId, things.id);
      const pair = { thing: things, note: notes };
      const inner = orm.select(pair).from(things).innerJoin(notes, ofThing).where(byId).prepare();
      const left = orm.select(pair).from(things).leftJoin(notes, ofThing).where(byId).prepare();
      db.prepare('INSERT INTO notes (thing_id) VALUES (?)').run(id);
      const taken = orm.delete(things).where(byId).returning().prepare();
      return [
        changes,
        whole.get({ id }),
        whole.all({ id }),
        whole.get({ id: 'none' }),
        whole.all({ id: 'none' }),
        renamed.all({ id }),
        joined.get({ id }),
        inner.all({ id }),
        inner.get({ id: `${id}-empty` }),
        left.all({ id }),
        left.all({ id: `${id}-empty` }),
        db.prepare('SELECT is_open, changed_at, tags FROM things WHERE id = ?').get(id),
        taken.all({ id }),
        taken.all({ id: `${id}-empty` }),
        computed.get(),
      ];
    });
    const [expected, found] = rows.map((row) => JSON.parse(JSON.stringify(row).replaceAll('t-1', 't-0')));
    expect(found).to.deep.equal(expected);
    expect(expected, 'a pair each').to.have.length(15);
    expect(found[1]).to.deep.include({ isOpen: true, tags: ['a'] });
  });

  it('refuse to run without a value that they need', () => {
    expect(() => insert(quickDrizzle(db)).run({ id: 'a', tags: null })).to.throw(
      'There is no value for "changedAt"',
    );
  });
});
