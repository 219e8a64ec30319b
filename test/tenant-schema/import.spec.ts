import { randomBytes } from 'node:crypto';
import { copyFileSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import fc from 'fast-check';
import { Fault } from '../../tenant-schema/fault.ts';
import { INPUT_BYTES_MAX, METADATA_BYTES_MAX } from '../../tenant-schema/json.ts';
import type { TenantStore } from '../../tenant-schema/store.ts';
import { faultOf } from '../support/faults.ts';
import {
  ask,
  companionsOf,
  fileOf,
  fileWorkers,
  fill,
  forge,
  grow,
  leftovers,
  readAll,
  until,
} from '../support/tenant-files.ts';
import {
  answered,
  begin,
  chat,
  configContent,
  failed,
  startEngine,
  type TestEngine,
  turnRequest,
} from '../support/tenants.ts';

/** A change to a valid file: SQL, or what a program does with it. */
type Change = string | ((path: string) => void);

const patch = (offset: number, bytes: Buffer | string) => (path: string) => {
  const file = readFileSync(path);
  Buffer.from(bytes).copy(file, offset);
  writeFileSync(path, file);
};
const cutTo = (bytes: (size: number) => number) => (path: string) => {
  const file = readFileSync(path);
  writeFileSync(path, file.subarray(0, bytes(file.length)));
};
/** Runs SQL on a file whose tables take any type meanwhile. */
const unchecked = (sql: string) => (path: string) => {
  const schema: [string, string][] = [];
  forge(path, (db) => {
    for (const row of db
      .prepare<[], { name: string; sql: string }>("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
      .all())
      schema.push([row.name, row.sql]);
    db.exec(
      `UPDATE sqlite_schema SET sql = replace(replace(replace(sql, ' NOT NULL', ''), 'STRICT, ', ''), ' STRICT', '')
         WHERE type = 'table'`,
    );
  });
  forge(path, sql);
  forge(path, (db) => {
    for (const [name, text] of schema)
      db.prepare('UPDATE sqlite_schema SET sql = ? WHERE name = ?').run(text, name);
  });
};
const inSchema = (sql: string) => (path: string) => forge(path, sql);
const plainDatabase = (sql: string) => (path: string) => {
  rmSync(path);
  const db = new Database(path);
  db.exec(sql);
  db.close();
};
const modelWith = (changes: object) => (path: string) =>
  forge(path, (db) => {
    const model = JSON.stringify({ provider: 'demo', model: 'demo-1', ...changes });
    db.prepare('UPDATE config_versions SET model_config = ?').run(model);
  });
const deep = '['.repeat(200_000) + ']'.repeat(200_000);

const HOSTILE: Record<string, [Change, RegExp]> = {
  'no bytes': [cutTo(() => 0), /not a SQLite database/],
  'half a header': [cutTo(() => 50), /not a tenant/],
  'one page': [cutTo(() => 4096), /damaged|cannot read it/],
  'half of its pages': [cutTo((size) => size / 2), /damaged|cannot read it/],
  'half a last page': [cutTo((size) => size - 2048), /damaged|cannot read it/],
  'random bytes': [
    (path) => writeFileSync(path, randomBytes(20_000)),
    /not a SQLite database, or it is encrypted/,
  ],
  text: [(path) => writeFileSync(path, 'CREATE TABLE tenant;\n'.repeat(500)), /not a SQLite database/],
  'a header and then noise, as where a file is encrypted': [
    (path) => writeFileSync(path, Buffer.concat([readFileSync(path).subarray(0, 16), randomBytes(20_000)])),
    /cannot read it|not a tenant/,
  ],
  "another program's database": [plainDatabase('CREATE TABLE theirs (id)'), /not a tenant of this program/],
  'an empty database': [plainDatabase('VACUUM'), /not a SQLite database|not a tenant/],
  'our tables under another application id': ['PRAGMA application_id = 7', /not a tenant of this program/],
  'no schema version': ['PRAGMA user_version = 0', /no schema version/],
  'a negative schema version': ['PRAGMA user_version = -1', /no schema version/],
  'a later schema': [
    'PRAGMA user_version = 4711',
    /schema version 4711; this server knows versions up to \d+/,
  ],
  'a trigger': [
    'CREATE TRIGGER spy AFTER INSERT ON turns BEGIN DELETE FROM messages; END',
    /trigger that does not belong there: "spy"/,
  ],
  'a view': ['CREATE VIEW spy AS SELECT * FROM turns', /view that does not belong there/],
  'an endless view': [
    'CREATE VIEW spy AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n',
    /view that does not belong there/,
  ],
  'a view in the place of a table': [
    'DROP TABLE turns; CREATE VIEW turns AS SELECT 1 AS id',
    /view that does not belong there: "turns"|has no/,
  ],
  'a generated column': [
    'ALTER TABLE turns ADD COLUMN spy TEXT AS (model || id) VIRTUAL',
    /table "turns" is not as it should be/,
  ],
  'one more column': ['ALTER TABLE turns ADD COLUMN spy TEXT', /table "turns" is not as it should be/],
  'a virtual table': [
    'CREATE VIRTUAL TABLE spy USING fts5 (content)',
    /table that does not belong there: "spy/,
  ],
  'one more table': ['CREATE TABLE spy (id)', /table that does not belong there: "spy"/],
  statistics: ['ANALYZE', /does not belong there: "sqlite_stat/],
  'one more index': ['CREATE INDEX spy ON turns (model)', /index that does not belong there: "spy"/],
  'an index with code in it': [
    'CREATE INDEX spy ON turns (model) WHERE length(model) > 10',
    /index that does not belong there/,
  ],
  'no index': ['DROP INDEX turns_by_user', /has no index turns_by_user/],
  'no table': ['DROP TABLE open_turns', /has no .*open_turns/],
  'tables that take any type': [
    inSchema("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'turns'"),
    /table "turns" is not as it should be/,
  ],
  'a check that runs code': [
    inSchema(
      "UPDATE sqlite_schema SET sql = replace(sql, 'model TEXT NOT NULL', 'model TEXT NOT NULL CHECK (length(model) > 0)') WHERE name = 'turns'",
    ),
    /table "turns" is not as it should be/,
  ],
  'two tables over the same pages': [
    inSchema(
      "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'turns') WHERE name = 'messages'",
    ),
    /damaged|cannot read it/,
  ],
  'a table without pages': [
    inSchema("UPDATE sqlite_schema SET rootpage = 0 WHERE name = 'messages'"),
    /damaged|cannot read it/,
  ],
  'a table over pages that are not there': [
    inSchema("UPDATE sqlite_schema SET rootpage = 100000 WHERE name = 'messages'"),
    /damaged|cannot read it/,
  ],
  'a schema that cannot be read': [
    inSchema("UPDATE sqlite_schema SET sql = 'CREATE TABLE turns (' WHERE name = 'turns'"),
    /cannot read it/,
  ],
  'a schema of megabytes': [
    inSchema("UPDATE sqlite_schema SET sql = sql || printf('%.*c', 5000000, ' ') WHERE name = 'turns'"),
    /table "turns" is not as it should be/,
  ],
  'a schema with a NUL in it': [
    inSchema("UPDATE sqlite_schema SET sql = sql || char(0) || ' x' WHERE name = 'turns'"),
    /not as it should be|cannot read it/,
  ],
  'thousands of views': [
    (path) =>
      forge(path, (db) => {
        db.exec(`INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        SELECT 'view', 'v' || i, 'v' || i, 0, 'CREATE VIEW v' || i || ' AS SELECT 1' FROM n`);
      }),
    /view that does not belong there/,
  ],
  'wrong types under the right schema': [
    unchecked("UPDATE turns SET input_tokens = 'many'"),
    /damaged: "(non-INTEGER|TEXT) value in turns.input_tokens/,
  ],
  'a blob for a text': [
    unchecked("UPDATE messages SET content = x'00ff'"),
    /damaged: "(non-TEXT|BLOB) value in messages.content/,
  ],
  'a null where none may be': [
    unchecked('UPDATE messages SET role = NULL'),
    /damaged: "NULL value in messages.role/,
  ],
  'an index that says something else': [
    (path) => {
      const sql: string[] = [];
      forge(path, (db) => {
        sql.push(
          String(db.prepare("SELECT sql FROM sqlite_schema WHERE name = 'turns_by_config'").pluck().get()),
        );
        db.exec("DELETE FROM sqlite_schema WHERE name = 'turns_by_config'");
      });
      forge(path, (db) => {
        db.exec('CREATE INDEX turns_by_config ON turns (model, id)');
        db.prepare("UPDATE sqlite_schema SET sql = ? WHERE name = 'turns_by_config'").run(sql[0]);
      });
    },
    /damaged/,
  ],
  'a page overwritten': [(path) => patch(3 * 4096, Buffer.alloc(4096, 0xff))(path), /damaged|cannot read it/],
  'rows that refer to nothing': ['DELETE FROM conversations', /Rows in "messages" refer to nothing/],
  'text in UTF-16': [
    (path) => {
      const copy = new Database(`${path}.16`);
      copy.pragma("encoding = 'UTF-16'");
      const db = new Database(path);
      const schema = db
        .prepare<[], { sql: string }>('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL')
        .all();
      for (const { sql } of schema) copy.exec(sql);
      copy.pragma(`application_id = ${Number(db.pragma('application_id', { simple: true }))}`);
      copy.pragma(`user_version = ${Number(db.pragma('user_version', { simple: true }))}`);
      db.close();
      copy.close();
      copyFileSync(`${path}.16`, path);
    },
    /not in UTF-8/,
  ],
  'no tenant': ['DELETE FROM tenant', /names 0 tenants/],
  'two tenants': ["INSERT INTO tenant VALUES ('x', 'x', 1)", /names 2 tenants/],
  'a tenant without an id': ["UPDATE tenant SET id = '../../etc/passwd'", /no valid id/],
  'no history of migrations': ['DELETE FROM migrations', /history of migrations/],
  'NUL in a text': [
    "UPDATE messages SET content = 'a' || char(0) || 'b'",
    /messages.content is not valid text/,
  ],
  'text that is not UTF-8': [
    "UPDATE messages SET content = CAST(x'61ff62' AS TEXT)",
    /messages.content is not valid text/,
  ],
  'half a character': [
    "UPDATE messages SET content = CAST(x'f09f98' AS TEXT)",
    /messages.content is not valid text/,
  ],
  'half a surrogate pair': [
    "UPDATE conversations SET title = CAST(x'eda080' AS TEXT)",
    /conversations.title is not valid text/,
  ],
  'a value too long to be read': [
    (path) => forge(path, "UPDATE messages SET content = printf('%.*c', 202000000, 'x') WHERE seq = 1"),
    /messages.content is too long/,
  ],
  'a name too long': [
    "UPDATE conversations SET title = printf('%.*c', 5000, 'x')",
    /conversations.title is too long/,
  ],
  'JSON that is not': [
    'UPDATE conversations SET metadata = \'{"a":\'',
    /conversations.metadata is not the JSON/,
  ],
  'JSON of another shape': [
    "UPDATE conversations SET metadata = '[1]'",
    /conversations.metadata is not the JSON/,
  ],
  'JSON too deep to be written again': [
    (path) =>
      forge(path, (db) => {
        db.prepare('UPDATE conversations SET metadata = ?').run(`{"a":${deep}}`);
      }),
    /conversations.metadata is not the JSON/,
  ],
  'metadata that no answer has room for': [
    `UPDATE conversations SET metadata = '{"a":"' || printf('%.*c', 5000000, 'x') || '"}'`,
    /conversations.metadata is too long/,
  ],
  'a model without a provider': [
    'UPDATE config_versions SET model_config = \'{"model":"x"}\'',
    /config_versions.model_config/,
  ],
  'tools without names': ["UPDATE config_versions SET tools_config = '[{}]'", /config_versions.tools_config/],
  'a model of another kind than text': [
    modelWith({ provider: { toString: 'demo' } }),
    /config_versions.model_config/,
  ],
  'a provider with a name of pages': [
    modelWith({ provider: 'x'.repeat(2000) }),
    /config_versions.model_config/,
  ],
  'a model without a name': [modelWith({ model: ' ' }), /config_versions.model_config/],
  ...Object.fromEntries(
    Object.entries({
      n: 100,
      service_tier: 'priority',
      web_search_options: {},
      messages: [{ role: 'user', content: 'something else' }],
      api_key: 'k',
      'Base-URL': 'http://127.0.0.1:1',
      baseUrl: 'http://127.0.0.1:1',
      extraHeaders: { authorization: 'x' },
    }).map(([name, value]): [string, [Change, RegExp]] => [
      `a model asked with "${name}"`,
      [modelWith({ [name]: value }), /config_versions.model_config/],
    ]),
  ),
  'a tool under a name that no provider takes': [
    `UPDATE config_versions SET tools_config = '["a b"]'`,
    /config_versions.tools_config/,
  ],
  'two tools under one name': [
    `UPDATE config_versions SET tools_config = '["a",{"name":"a"}]'`,
    /config_versions.tools_config/,
  ],
  'a tool whose schema is none': [
    `UPDATE config_versions SET tools_config = '[{"name":"a","parameters":"x"}]'`,
    /config_versions.tools_config/,
  ],
  'a tool with more to it': [
    `UPDATE config_versions SET tools_config = '[{"name":"a","type":"web_search"}]'`,
    /config_versions.tools_config/,
  ],
  'a version of a config beyond its latest': [
    `INSERT INTO config_versions SELECT config_id, version + 1, name, agent_type, system_prompt, model_config,
       tools_config, metadata, created_at FROM config_versions WHERE version = 3`,
    /versions of a config are not numbered/,
  ],
  'a gap in the versions of a config': [
    'DELETE FROM config_versions WHERE version = 2',
    /versions of a config are not numbered/,
  ],
  'a version of a config before its first': [
    'UPDATE config_versions SET version = 0 WHERE version = 1',
    /config_versions.version does not count from 1/,
  ],
  'a message before the first': [
    `INSERT INTO messages (conversation_id, seq, id, role, content, is_error, status, created_at)
       SELECT id, 0, '019bbbbb-0000-7000-8000-000000000000', 'user', 'earlier', 0, 'complete', 1 FROM conversations LIMIT 1`,
    /messages.seq does not count from 1/,
  ],
  'messages that are numbered from 2': ['UPDATE messages SET seq = seq + 1000', /not numbered/],
  'two messages under one id': [
    'UPDATE messages SET id = (SELECT min(id) FROM messages)',
    /Two messages of a conversation have the same id/,
  ],
  'an id of a tool call that is used again': [
    `INSERT INTO messages SELECT conversation_id, seq + 100, substr(id, 1, 35) || 'x', role, content, tool_calls,
       tool_call_id, tool_name, is_error, status, provider_data, created_at FROM messages WHERE tool_calls IS NOT NULL;
     UPDATE messages SET id = '019bbbbb-0000-7000-8000-000000000000' WHERE seq > 100;
     UPDATE messages SET seq = 1 + (SELECT count(*) FROM messages AS earlier
       WHERE earlier.conversation_id = messages.conversation_id AND earlier.seq < messages.seq) WHERE seq > 100`,
    /Two tool calls of a conversation have the same id/,
  ],
  'calls without arguments': [
    `UPDATE messages SET tool_calls = '[{"id":"a","name":"b"}]' WHERE tool_calls IS NOT NULL`,
    /messages.tool_calls/,
  ],
  'an unknown role': ["UPDATE messages SET role = 'system'", /messages.role is not one of/],
  'an unknown kind of agent': [
    "UPDATE config_versions SET agent_type = 'sandboxed'",
    /config_versions.agent_type/,
  ],
  'an id that is none': [
    "UPDATE turns SET id = '1; DROP TABLE turns' WHERE status = 'error'",
    /turns.id is not an id/,
  ],
  'a negative count': ['UPDATE turns SET input_tokens = -1', /turns.input_tokens is not a count/],
  'counts whose sum is too large': [
    'UPDATE turns SET input_tokens = 9000000000000000000',
    /turns.input_tokens is not a count/,
  ],
  'a time that no calendar has': [
    'UPDATE conversations SET created_at = 8000000000000000',
    /conversations.created_at is not a time/,
  ],
  'a gap in the numbering of messages': [
    "UPDATE messages SET seq = seq + 10 WHERE seq > 1 AND role = 'assistant' AND tool_calls IS NULL",
    /not numbered|tool|between/,
  ],
  'a config without its latest version': [
    'DELETE FROM config_versions WHERE version = 3',
    /no latest version/,
  ],
  'a config under another name than its latest version': [
    "UPDATE configs SET name = name || '!'",
    /no latest version/,
  ],
  'tool calls that are answered in part': [
    "DELETE FROM messages WHERE tool_call_id = 'call_2'",
    /answered in part|between|not numbered/,
  ],
  'a tool result without a call': [
    "UPDATE messages SET tool_call_id = 'other' WHERE tool_call_id = 'call_1'",
    /answers no call/,
  ],
  'a question between calls and results': [
    "UPDATE messages SET role = 'user', tool_call_id = NULL WHERE role = 'tool'",
    /between tool calls and their results/,
  ],
  'two calls under one id': [
    `UPDATE messages SET tool_calls = '[{"id":"a","name":"b","arguments":{}},{"id":"a","name":"b","arguments":{}}]' WHERE tool_calls IS NOT NULL`,
    /same id/,
  ],
  'a question without text': [
    "UPDATE messages SET content = NULL WHERE role = 'user'",
    /belongs to its role/,
  ],
  'a part of it in a -wal': [(path) => writeFileSync(`${path}-wal`, 'x'), /was in use.*"-wal"/],
  'a part of it in a journal': [(path) => writeFileSync(`${path}-journal`, 'x'), /was in use.*"-journal"/],
};

describe('import of a file that nobody vouches for', () => {
  let world: TestEngine;
  let valid: string;
  let source: string;
  let original: ReturnType<typeof readAll>;

  before(async () => {
    world = startEngine();
    valid = join(world.folder, 'valid.db');
    source = join(world.folder, 'source.db');
    const id = await world.tenant('Elsewhere Ltd.');
    await world.engine.use(id, fill);
    original = await world.engine.use(id, readAll);
    await world.engine.snapshot(id, valid);
    await world.engine.destroy(id);
  });
  after(() => world.stop());
  beforeEach(() => {
    for (const name of readdirSync(world.folder)) {
      if (name.startsWith('source.db')) rmSync(join(world.folder, name));
    }
    copyFileSync(valid, source);
  });

  const tenant = (name = 'Newcomer') => ({ id: world.ids(), name });
  const refused = async (path = source): Promise<string> => {
    const files = await world.engine.list();
    const fault = await faultOf(() => world.engine.importFile(path, tenant()));
    expect(fault.code).to.equal('invalid_database');
    expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
    expect(await world.engine.list()).to.deep.equal(files);
    expect(fault.message).to.match(/^The file cannot be imported\. [A-Z].*\.$/);
    expect(fault.message.length).to.be.lessThan(300);
    return fault.message;
  };
  const imported = async (path = source, as = tenant()): Promise<string> => {
    await world.engine.importFile(path, as);
    expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
    return as.id;
  };

  for (const [what, [change, reason]] of Object.entries(HOSTILE)) {
    it(`refuses ${what}`, async () => {
      if (typeof change === 'string') forge(source, change);
      else change(source);
      expect(await refused()).to.match(reason);
    });
  }

  it('refuses a link, and does not look at where it leads', async () => {
    rmSync(source);
    symlinkSync(valid, source);
    expect(await refused()).to.match(/not a regular file/);
  });

  it('takes in a valid file as another tenant, with every verb answering as before', async () => {
    const id = await imported(source, { id: world.ids(), name: 'Newcomer' });
    expect(await world.engine.use(id, readAll)).to.deep.equal(original);
    await world.engine.quiesce(id);
    const path = fileOf(world, id);
    expect(ask(path, 'SELECT id || name FROM tenant')).to.equal(`${id}Newcomer`);
    expect(readFileSync(path).includes('Elsewhere Ltd.')).to.equal(false);
  });

  it('reports on the new file', async () => {
    const as = tenant();
    const report = await world.engine.importFile(source, as);
    expect(report.rows).to.include({ configs: 2, turns: 7 });
    expect(report.sizeBytes).to.be.greaterThan(4096);
    expect(await world.engine.stat(as.id)).to.include({ sizeBytes: report.sizeBytes });
  });

  it('works out what follows from other rows instead of believing it', async () => {
    forge(
      source,
      'UPDATE conversations SET message_count = 0, history_bytes = 1, awaiting_tools = 1 - awaiting_tools',
    );
    const id = await imported();
    expect(await world.engine.use(id, readAll)).to.deep.equal(original);
    const bytes = 'SELECT group_concat(history_bytes) FROM conversations';
    await world.engine.quiesce(id);
    expect(ask(fileOf(world, id), bytes)).to.equal(ask(valid, bytes));
  });

  it('closes every open turn, whichever run it says it belongs to', async () => {
    forge(
      source,
      `INSERT INTO open_turns SELECT '019bbbbb-0000-7000-8000-00000000000' || row_number() OVER (), run.name, 'r', config_id,
         1, conversations.id, NULL, 'demo', 'demo-1', 1, 7, 1000, NULL, 'abc'
       FROM conversations, (SELECT 'copy' AS name) AS run`,
    );
    const as = tenant();
    // In the file itself: opened by a server, it would be rid of them in any case.
    expect((await world.engine.importFile(source, as)).rows.open_turns).to.equal(0);
    const { conversations, logs } = await world.engine.use(as.id, readAll);
    expect(conversations.map(({ status }) => status)).not.to.include('busy');
    expect(logs.filter(({ errorCode }) => errorCode === 'server_stopped')).to.have.length(
      conversations.length,
    );
  });

  it('takes in a file in WAL mode that stands alone, and leaves it as it was', async () => {
    forge(source, () => {});
    const db = new Database(source);
    db.pragma('journal_mode = WAL');
    db.exec("UPDATE tenant SET name = 'in WAL mode'");
    db.close();
    expect(readFileSync(source)[18]).to.equal(2);
    const before = readFileSync(source);
    const id = await imported();
    expect(await world.engine.use(id, readAll)).to.deep.equal(original);
    expect(readFileSync(source).equals(before)).to.equal(true);
    expect(companionsOf(source)).to.deep.equal([]);
  });

  it('does not mind bytes after the end, other page sizes or a file that nobody may write', async () => {
    writeFileSync(source, Buffer.concat([readFileSync(source), randomBytes(5000)]), { mode: 0o400 });
    const id = await imported();
    expect(await world.engine.use(id, readAll)).to.deep.equal(original);
    rmSync(source);
    copyFileSync(valid, source);
    forge(source, 'PRAGMA page_size = 512; VACUUM');
    expect(await world.engine.use(await imported(), readAll)).to.deep.equal(original);
  });

  it('gives up on a file that takes too long, leaves nothing behind, and takes the next', async () => {
    const hasty = startEngine({ importTimeoutMs: 1 });
    try {
      grow(source, 30 * 1024 * 1024);
      const fault = await faultOf(() => hasty.engine.importFile(source, tenant()));
      expect(fault.code).to.equal('invalid_database');
      expect(fault.message).to.match(/took too long/);
      expect(leftovers(hasty)).to.deep.equal([]);
      const next = hasty.ids();
      await hasty.engine.create({ id: next, name: 'x' });
      await hasty.engine.snapshot(next, join(hasty.folder, 'x.sqlite'));
      await imported();
      // A tenant's own backup comes back, however large it is.
      const [backup, kept] = ['x', 'kept'].map((name) => join(hasty.folder, `${name}.sqlite`)) as [
        string,
        string,
      ];
      await hasty.engine.replace({ id: next, name: 'x' }, backup, kept);
    } finally {
      await hasty.stop();
    }
  });

  describe('whose process ends early', () => {
    let own: TestEngine;
    beforeEach(() => {
      own = startEngine();
      grow(source, 24 * 1024 * 1024);
    });
    afterEach(() => own.stop());
    /** Begins an import, and waits until it is at work. */
    const begun = async (): Promise<[Promise<unknown>]> => {
      const ended = own.engine.importFile(source, tenant()).then(
        () => expect.fail('expected an error'),
        (error: unknown) => error,
      );
      await until(() => leftovers(own).length > 0);
      return [ended];
    };

    it('is refused where it was led astray, and kept for another try where somebody killed it', async () => {
      for (const [signal, told] of [
        ['SIGSEGV', /made the process fail/],
        ['SIGKILL', /was ended \(SIGKILL\)/],
      ] as const) {
        const [ended] = await begun();
        for (const pid of fileWorkers()) process.kill(pid, signal);
        expect(await ended).to.match(told);
        expect(leftovers(own)).to.deep.equal([]);
        expect(await own.engine.list()).to.deep.equal([]);
      }
    });

    it('leaves nothing behind where the engine closes', async () => {
      const [ended] = await begun();
      await own.engine.close();
      expect(leftovers(own)).to.deep.equal([]);
      expect(await ended)
        .to.be.instanceOf(Fault)
        .that.includes({ code: 'overloaded' });
    });
  });

  it('takes in a copy of a tenant whose every value is as long as the server lets one become', async function () {
    this.timeout(60_000);
    const id = await world.tenant();
    const astral = (chars: number): string => '\u{1f680}'.repeat(chars);
    const json = (bytes: number) => ({ temperature: 1e-7, x: 'x'.repeat(bytes - 100) });
    await world.engine.use(id, (store) => {
      const config = store.createConfig(
        configContent({
          name: astral(200),
          systemPrompt: astral(200_000),
          modelConfig: { provider: 'demo', model: astral(200), ...json(12 * 1024) },
          toolsConfig: Array.from({ length: 128 }, (_, n) => ({
            name: `${n}_`.padEnd(64, 'x'),
            description: 'd'.repeat(1500),
            parameters: { type: 'object' },
          })),
          metadata: json(METADATA_BYTES_MAX),
        }),
      );
      const turn = begin(store, turnRequest(config.id, 'x', { user: astral(200) }));
      const call = { id: 'a', name: 'save', arguments: { x: '\u0001'.repeat(INPUT_BYTES_MAX / 12) } };
      const end = answered(turn, 'y'.repeat(INPUT_BYTES_MAX / 2), [call]);
      const data = { provider: 'demo', data: '\u0001'.repeat(INPUT_BYTES_MAX / 2) };
      store.finishTurn(turn, {
        ...end,
        messages: end.messages.map((message) =>
          message.role === 'assistant' ? { ...message, providerData: data } : message,
        ),
      });
      const { conversationId } = turn;
      store.updateConversation(conversationId, { title: astral(200), metadata: json(METADATA_BYTES_MAX) });
      // As JSON it is several times as long as it was in the body.
      const content = JSON.stringify(Array.from({ length: (INPUT_BYTES_MAX - 1000) / 5 }, () => 1e20));
      const results = [{ toolCallId: 'a', content, isError: false }];
      const next = begin(
        store,
        turnRequest(config.id, { kind: 'tool_results', results }, { conversationId, historyBytesMax: 1e9 }),
      );
      store.finishTurn(next, answered(next, 'z'));
    });
    const largest = join(world.folder, 'largest.sqlite');
    await world.engine.snapshot(id, largest);
    const second = await imported(largest);
    rmSync(largest);
    const rows = 'SELECT group_concat(octet_length(content)) FROM messages';
    for (const tenantId of [id, second]) await world.engine.quiesce(tenantId);
    expect(ask(fileOf(world, second), rows)).to.equal(ask(fileOf(world, id), rows));
    for (const tenantId of [id, second]) await world.engine.destroy(tenantId);
  });

  it('gives back through a copy and an import whatever the verbs can have stored', async function () {
    this.timeout(60_000);
    const text = fc
      .string({ unit: 'binary', maxLength: 30 })
      .filter((s) => s.isWellFormed() && !s.includes('\0'));
    const metadata = fc
      .dictionary(text, fc.jsonValue({ maxDepth: 3 }), { maxKeys: 3 })
      .map((value) => JSON.parse(JSON.stringify(value).replaceAll('\\u0000', '')) as Record<string, unknown>);
    const step = fc.record({
      kind: fc.constantFrom(
        'chat',
        'call',
        'results',
        'cancel',
        'fail',
        'abort',
        'config',
        'title',
        'delete',
        'leave',
      ),
      pick: fc.nat(20),
      text,
      metadata,
      user: fc.option(text),
      calls: fc.integer({ min: 1, max: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const id = await world.tenant();
        await world.engine.use(id, (store) => play(store, steps));
        const copy = join(world.folder, 'copy.sqlite');
        await world.engine.snapshot(id, copy);
        const second = await imported(copy);
        rmSync(copy);
        // A turn that still runs in the original is aborted in the copy.
        const [a, b] = [await world.engine.use(id, readAll), await world.engine.use(second, readAll)];
        const open = steps.some(({ kind }) => kind === 'leave');
        if (open) expect(b.configs).to.deep.equal(a.configs);
        else expect(b).to.deep.equal(a);
        await world.engine.destroy(id);
        await world.engine.destroy(second);
      }),
      { numRuns: 25 },
    );
  });
});

interface Step {
  kind: string;
  pick: number;
  text: string;
  metadata: Record<string, unknown>;
  user: string | null;
  calls: number;
}

/** Plays steps against a store; one that makes no sense at the moment does nothing. */
function play(store: TenantStore, steps: Step[]): void {
  const all = { limit: 100, cursor: null };
  const base = store.createConfig(configContent());
  for (const [index, { kind, pick, text, metadata, user, calls }] of steps.entries()) {
    const conversations = store.listConversations({ configId: base.id }, all).data;
    const found = conversations[pick % Math.max(conversations.length, 1)];
    if (found?.status === 'busy') continue;
    const changes = { conversationId: pick % 3 === 0 ? null : (found?.id ?? null), user, metadata };
    const beginAny = () =>
      begin(store, turnRequest(base.id, { kind: 'message', text, cancelToolCalls: true }, changes));
    if (kind === 'chat' || kind === 'cancel') {
      const turn = beginAny();
      store.finishTurn(turn, answered(turn, text === '' ? null : text));
    } else if (kind === 'call') {
      const turn = beginAny();
      const made = Array.from({ length: calls }, (_, n) => ({
        id: `call ${index} ${n} ${text}`,
        name: 'save',
        arguments: metadata,
      }));
      store.finishTurn(turn, answered(turn, null, made));
    } else if (kind === 'results' && found?.status === 'awaiting_tools') {
      const [last] = store.listMessages(found.id, all).data;
      const results = (last?.toolCalls ?? []).map((call) => ({
        toolCallId: call.id,
        content: text,
        isError: pick % 2 === 0,
      }));
      const turn = begin(
        store,
        turnRequest(base.id, { kind: 'tool_results', results }, { conversationId: found.id }),
      );
      store.finishTurn(turn, answered(turn, text));
    } else if (kind === 'fail') {
      store.failTurn(beginAny(), failed);
    } else if (kind === 'abort') {
      const turn = beginAny();
      store.finishTurn(turn, {
        ...answered(turn, text),
        status: 'aborted',
        errorCode: 'client_closed_request',
      });
    } else if (kind === 'config') {
      const config = store.createConfig(
        configContent({ name: `config ${index}`, systemPrompt: text, metadata }),
      );
      store.updateConfig(config.id, { systemPrompt: `${text}!` });
      if (pick % 2) chat(store, config.id, text, text, { user });
      if (pick % 3 === 0) store.deleteConfig(config.id);
    } else if (kind === 'title' && found) {
      store.updateConversation(found.id, { title: text, metadata });
    } else if (kind === 'delete' && found) {
      store.deleteConversation(found.id, () => true);
    } else if (kind === 'leave') {
      beginAny();
    }
  }
}
