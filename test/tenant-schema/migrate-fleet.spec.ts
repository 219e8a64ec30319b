import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import type { FileReport } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { EngineOptions } from '../../tenant-schema/sqlite/engine.ts';
import { TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';
import { defineMigrations, type Migration } from '../../tenant-schema/sqlite/migrator.ts';
import { faultOf } from '../support/faults.ts';
import {
  ask,
  companionsOf,
  fileOf,
  forge,
  grow,
  hashOf,
  leftovers,
  readAll,
  until,
  useAll,
} from '../support/tenant-files.ts';
import { startEngine, type TestEngine } from '../support/tenants.ts';

/** A file of an earlier release, as `make-tenant-v1.ts` made it. */
const FIXTURE = fileURLToPath(new URL('../fixtures/tenant-v1.db', import.meta.url));
/** The schema of that release. */
const first = TENANT_MIGRATIONS.slice(0, 1);
/** The version of the release to come that is made up here. */
const NEXT = TENANT_MIGRATIONS.length + 1;

/** Rebuilds the table with the most rows, with a column more. */
const regions: Migration = {
  version: NEXT,
  name: 'turns have a region',
  rewritesTables: true,
  sql: `
    CREATE TABLE turns_new (
      id TEXT NOT NULL PRIMARY KEY, request_id TEXT NOT NULL, config_id TEXT NOT NULL, config_version INTEGER NOT NULL,
      conversation_id TEXT NOT NULL, user TEXT, provider TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL,
      error_code TEXT, latency_ms INTEGER NOT NULL, first_token_ms INTEGER, input_tokens INTEGER NOT NULL,
      output_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
      usage_estimated INTEGER NOT NULL, cost_micro_usd INTEGER, created_at INTEGER NOT NULL,
      cache_write_input_tokens INTEGER NOT NULL DEFAULT 0, price_version TEXT,
      region TEXT NOT NULL DEFAULT 'nowhere'
    ) STRICT, WITHOUT ROWID;
    INSERT INTO turns_new SELECT *, 'nowhere' FROM turns;
    DROP TABLE turns;
    ALTER TABLE turns_new RENAME TO turns;
    CREATE INDEX turns_by_config ON turns (config_id, id);
    CREATE INDEX turns_by_conversation ON turns (conversation_id, id);
    CREATE INDEX turns_by_user ON turns (user, id) WHERE user IS NOT NULL;
    CREATE INDEX turns_not_ok ON turns (status, id) WHERE status <> 'ok';
  `,
};
const broken: Migration = { ...regions, sql: `${regions.sql} INSERT INTO nowhere VALUES (1);` };

/** Longer than a test waits. */
const REWRITES = `UPDATE messages SET content = content || 'x';`.repeat(200);

const V1 = defineMigrations(first);
const TODAY = defineMigrations(TENANT_MIGRATIONS);
const V_NEXT = defineMigrations([...TENANT_MIGRATIONS, regions]);
const FAILING = defineMigrations([...TENANT_MIGRATIONS, broken]);

const versionOf = (path: string) => ask(path, 'PRAGMA user_version');

describe('files of an earlier release', () => {
  let world: TestEngine;
  afterEach(() => world.stop());
  const start = (migrations: typeof V1, options: Partial<EngineOptions> = {}) => {
    world = startEngine({ migrations, ...options });
  };
  /** Keeps each copy at `copyPath`, and counts them. */
  const keeping = (): Partial<EngineOptions> & { kept: string[] } => {
    const kept: string[] = [];
    return {
      kept,
      async keepBeforeRewrite(id, copy) {
        await copy(copyPath());
        kept.push(id);
      },
    };
  };
  const restart = async (migrations: typeof V1, options: Partial<EngineOptions> = {}) => {
    await world.engine.close();
    world = world.restart({ migrations, ...options });
  };
  /** Puts the fixture into the folder as a tenant of its own. */
  const adopt = (): string => {
    const id = world.ids();
    const path = fileOf(world, id);
    copyFileSync(FIXTURE, path);
    const db = new Database(path);
    db.prepare('UPDATE tenant SET id = ?').run(id);
    db.close();
    return id;
  };
  const copyPath = () => join(world.folder, 'before.sqlite');

  it('are of version 1 and have an open turn, or this proves nothing', () => {
    start(V1);
    const path = fileOf(world, adopt());
    expect(versionOf(path)).to.equal(1);
    expect(ask(path, 'SELECT count(*) FROM open_turns')).to.equal(1);
    expect(ask(path, 'SELECT count(*) FROM turns')).to.equal(7);
  });

  it('are brought to the latest schema at their first use, with all that was in them', async () => {
    start(TODAY);
    const [earlier, later] = [adopt(), adopt()];
    const before = await world.engine.use(earlier, readAll);
    await restart(V_NEXT);
    expect(await world.engine.use(later, readAll)).to.deep.equal(before);
    await world.engine.use(later, useAll);
    await world.engine.quiesce(later);
    expect(versionOf(fileOf(world, later))).to.equal(NEXT);
    expect(ask(fileOf(world, later), 'SELECT DISTINCT region FROM turns')).to.equal('nowhere');
    expect(world.warnings).to.deep.equal([]);
  });

  it('know by their rows what was used when they are brought to today', async () => {
    start(TODAY);
    const migrated = adopt();
    await world.engine.migrate(migrated);
    const imported = world.ids();
    await world.engine.importFile(FIXTURE, { id: imported, name: 'Arrived' });
    const opened = adopt();
    await world.engine.use(opened, () => {});
    await world.engine.use(migrated, () => {});
    for (const id of [migrated, imported, opened]) {
      await world.engine.quiesce(id);
      const path = fileOf(world, id);
      const rows = (sql: string) => ask(path, `SELECT json_group_array(json_array(${sql}`);
      const days = rows(
        `day, config_id, model, turns, errors, input_tokens, output_tokens, cost_micro_usd, unpriced_turns)
         ORDER BY day, config_id, model) FROM (SELECT * FROM usage_days)`,
      );
      expect(days).to.equal(
        rows(
          `day, config_id, model, turns, errors, i, o, cost, unpriced) ORDER BY day, config_id, model) FROM (
             SELECT strftime('%Y-%m-%d', created_at / 1000, 'unixepoch') AS day, config_id, model, count(*) AS turns,
               count(*) FILTER (WHERE status = 'error') AS errors, sum(input_tokens) AS i, sum(output_tokens) AS o,
               coalesce(sum(cost_micro_usd), 0) AS cost, count(*) FILTER (WHERE cost_micro_usd IS NULL) AS unpriced
             FROM turns GROUP BY 1, 2, 3)`,
        ),
      );
      expect(ask(path, 'SELECT sum(turns) FROM usage_days')).to.equal(8);
      const spent = ask(
        path,
        'SELECT json_group_array(json_array(month, spent_micro_usd, reserved_micro_usd)) FROM spend',
      );
      // What was spent stays with the tenant; an import is another's.
      expect(spent).to.equal(id === imported ? '[]' : '[["2026-01",42,0]]');
    }
  });

  it('are brought there when asked to, once, after a copy of what is rewritten', async () => {
    const reports: FileReport[] = [];
    start(V_NEXT, {
      async keepBeforeRewrite(_id, copy) {
        reports.push(await copy(copyPath()));
      },
    });
    const id = adopt();
    const before = ask(fileOf(world, id), 'SELECT count(*) FROM turns');
    expect(await world.engine.migrate(id)).to.deep.equal({ from: 1, to: NEXT });
    expect(reports).to.have.length(1);
    expect(reports[0]).to.include({ schemaVersion: 1, sizeBytes: statSync(copyPath()).size });
    expect(companionsOf(fileOf(world, id))).to.deep.equal([]);
    expect(versionOf(fileOf(world, id))).to.equal(NEXT);
    expect(versionOf(copyPath())).to.equal(1);
    expect(ask(copyPath(), 'SELECT count(*) FROM turns')).to.equal(before);
    expect(ask(copyPath(), 'PRAGMA integrity_check')).to.equal('ok');

    expect(await world.engine.migrate(id)).to.deep.equal({ from: NEXT, to: NEXT });
    expect(reports).to.have.length(1);
    expect((await world.engine.check(id)).problem).to.equal(null);
    await world.engine.use(id, useAll);
  });

  it('are not copied where nobody says whereto, or where nothing is rewritten', async () => {
    start(TODAY);
    const [asked, used] = [adopt(), adopt()];
    expect(await world.engine.migrate(asked)).to.deep.equal({ from: 1, to: NEXT - 1 });
    await world.engine.use(used, readAll);
    const { rewritesTables: _, ...cheap } = regions;
    const { kept, ...options } = keeping();
    await restart(defineMigrations([...TENANT_MIGRATIONS, cheap]), options);
    expect(await world.engine.migrate(asked)).to.deep.equal({ from: NEXT - 1, to: NEXT });
    await world.engine.use(used, readAll);
    expect(kept).to.deep.equal([]);
  });

  it('stay at their version where the copy cannot be made, however they are asked for', async () => {
    start(V_NEXT, {
      keepBeforeRewrite: async (_id, copy) => {
        await copy(join(world.folder, 'no such folder', 'x.sqlite'));
      },
    });
    const id = adopt();
    const before = hashOf(fileOf(world, id));
    expect(await world.engine.migrate(id).catch(String)).to.match(/ENOENT/);
    expect((await faultOf(() => world.engine.use(id, readAll))).code).to.equal('tenant_unavailable');
    expect(hashOf(fileOf(world, id))).to.equal(before);
    expect(leftovers(world)).to.deep.equal([]);
  });

  it('tell why the copy was refused to whoever wants to use them, and are migrated once it no longer is', async () => {
    let isFull = true;
    const { kept, keepBeforeRewrite } = keeping();
    start(V_NEXT, {
      async keepBeforeRewrite(id, copy) {
        if (isFull) throw new Fault('storage_quota_exceeded', 'The disk is full.');
        await keepBeforeRewrite?.(id, copy);
      },
    });
    const id = adopt();
    const before = hashOf(fileOf(world, id));
    const fault = await faultOf(() => world.engine.use(id, readAll));
    expect([fault.code, fault.message]).to.deep.equal(['storage_quota_exceeded', 'The disk is full.']);
    expect(hashOf(fileOf(world, id))).to.equal(before);
    isFull = false;
    await world.engine.use(id, useAll);
    expect(kept).to.deep.equal([id]);
  });

  it('are copied and migrated once at their first use, while others are served and nothing stops the loop', async () => {
    let release = (): void => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    const entered: string[] = [];
    start(V_NEXT, {
      async keepBeforeRewrite(id, copy) {
        entered.push(id);
        await copy(copyPath());
        await released;
      },
    });
    const [id, other] = [adopt(), await world.tenant()];
    let served = 0;
    const waiting = Array.from({ length: 20 }, () =>
      world.engine.use(id, (store) => {
        served += 1;
        return readAll(store).logs.length;
      }),
    );
    await until(() => existsSync(copyPath()));
    await world.engine.use(other, useAll);
    // Whoever comes while it is under way waits as well.
    waiting.push(world.engine.use(id, (store) => readAll(store).logs.length));
    const copying = world.engine.snapshot(id, join(world.folder, 'asked-for.sqlite'));
    expect(served).to.equal(0);
    release();
    // The open turn of a run that is over counts too by now.
    expect(new Set(await Promise.all(waiting))).to.deep.equal(new Set([8]));
    expect((await copying).schemaVersion).to.equal(NEXT);
    expect(entered).to.deep.equal([id]);
    expect(versionOf(copyPath())).to.equal(1);
  });

  it('fail all who wait for them at once, and are tried anew for nobody but an operator for a while', async () => {
    const { kept, ...options } = keeping();
    start(FAILING, {
      ...options,
      async keepBeforeRewrite(id) {
        kept.push(id);
      },
    });
    const id = adopt();
    const attempts = Array.from({ length: 10 }, () => faultOf(() => world.engine.use(id, readAll)));
    for (const { code, cause } of await Promise.all(attempts)) {
      expect(code).to.equal('tenant_unavailable');
      expect(String(cause)).to.match(/no such table: nowhere/);
    }
    await faultOf(() => world.engine.use(id, readAll));
    await faultOf(() => world.engine.snapshot(id, copyPath()));
    expect(kept).to.have.length(1);
    await world.engine.migrate(id).catch(() => {});
    expect(kept).to.have.length(2);
    world.clock.advance(60_000);
    await faultOf(() => world.engine.use(id, readAll));
    expect(kept).to.have.length(3);
  });

  it('are neither copied nor changed under the name of another tenant', async () => {
    const { kept, ...options } = keeping();
    start(V_NEXT, options);
    const id = adopt();
    forge(fileOf(world, id), `UPDATE tenant SET id = '${world.ids()}'`);
    expect((await faultOf(() => world.engine.use(id, readAll))).code).to.equal('tenant_unavailable');
    expect(await world.engine.migrate(id).catch(String)).to.match(/belongs to tenant/);
    expect([kept, versionOf(fileOf(world, id))]).to.deep.equal([[], 1]);
  });

  it('are migrated on their way in', async () => {
    start(V_NEXT);
    const id = world.ids();
    const report = await world.engine.importFile(FIXTURE, { id, name: 'Arrived' });
    expect(report.schemaVersion).to.equal(NEXT);
    expect(report.rows).to.include({ turns: 8, open_turns: 0 });
    await world.engine.use(id, useAll);
  });

  it('are kept as they are, and may be put back, where one is replaced before it was ever opened', async () => {
    start(V_NEXT);
    const id = adopt();
    const [source, kept] = [copyPath(), join(world.folder, 'kept.sqlite')];
    copyFileSync(fileOf(world, id), source);
    await world.engine.replace({ id, name: 'Acme' }, source, kept);
    expect(versionOf(kept)).to.equal(1);
    await world.engine.replace({ id, name: 'Acme' }, kept, join(world.folder, 'second.sqlite'));
    await world.engine.use(id, useAll);
  });

  it('stay at their version where a migration fails, and only such a tenant is unavailable', async () => {
    start(V_NEXT);
    const [up, other] = [adopt(), adopt()];
    await world.engine.migrate(up);
    await restart(FAILING, keeping());
    const before = hashOf(fileOf(world, other));
    expect((await faultOf(() => world.engine.use(other, readAll))).code).to.equal('tenant_unavailable');
    expect(ask(copyPath(), 'PRAGMA integrity_check')).to.equal('ok');
    rmSync(copyPath());
    expect(await world.engine.migrate(other).catch(String)).to.match(/no such table: nowhere/);
    expect(versionOf(copyPath())).to.equal(1);
    expect(hashOf(fileOf(world, other))).to.equal(before);
    expect(companionsOf(fileOf(world, other))).to.deep.equal([]);
    await world.engine.use(up, useAll);
    rmSync(copyPath());
    await restart(V_NEXT);
    await world.engine.use(other, useAll);
  });

  it('cannot be opened by the program that made them once they were migrated, and are not harmed by it', async () => {
    start(V_NEXT);
    const id = adopt();
    await world.engine.migrate(id);
    const newer = join(world.folder, 'newer.sqlite');
    await world.engine.snapshot(id, newer);
    await restart(V1);
    const before = hashOf(fileOf(world, id));
    expect((await faultOf(() => world.engine.use(id, readAll))).code).to.equal('tenant_unavailable');
    expect(await world.engine.migrate(id).catch(String)).to.match(
      /schema version \d; this program knows up to 1/,
    );
    const fault = await faultOf(() => world.engine.importFile(newer, { id: world.ids(), name: 'x' }));
    expect(fault.message).to.match(/schema version \d; this server knows versions up to 1/);
    expect(hashOf(fileOf(world, id))).to.equal(before);
  });

  it('are refused where their history is not the one of this program', async () => {
    start(V_NEXT);
    const path = join(world.folder, 'forged.sqlite');
    copyFileSync(FIXTURE, path);
    forge(path, "UPDATE migrations SET hash = 'another'");
    const fault = await faultOf(() => world.engine.importFile(path, { id: world.ids(), name: 'x' }));
    expect(fault.code).to.equal('invalid_database');
    expect(fault.message).to.match(/Migration 1 .* is not the one/);
  });

  it('are at one version or the other, without a -wal, where the engine closes meanwhile', async () => {
    start(V_NEXT);
    const id = adopt();
    const path = fileOf(world, id);
    grow(path, 24 * 1024 * 1024);
    const slow = { ...regions, sql: `${regions.sql} ${REWRITES}` };
    await restart(defineMigrations([...TENANT_MIGRATIONS, slow]));
    const migrating = faultOf(() => world.engine.migrate(id));
    await until(() => existsSync(`${path}-wal`));
    await world.engine.close();
    expect((await migrating).code).to.equal('overloaded');
    expect(companionsOf(path)).to.deep.equal([]);
    expect(versionOf(path)).to.equal(1);
    expect(ask(path, 'PRAGMA integrity_check')).to.equal('ok');
  });

  it('are not made out of an empty file', async () => {
    start(V_NEXT);
    const id = world.ids();
    writeFileSync(fileOf(world, id), '');
    expect(await world.engine.migrate(id).catch(String)).to.match(/not a tenant database/);
    expect(readFileSync(fileOf(world, id))).to.have.length(0);
  });

  it('are not migrated through a link', async () => {
    start(V_NEXT);
    const id = adopt();
    renameSync(fileOf(world, id), copyPath());
    symlinkSync(copyPath(), fileOf(world, id));
    expect(await world.engine.migrate(id).catch(String)).to.match(/not a regular file/);
    expect(versionOf(copyPath())).to.equal(1);
  });

  it('are brought there many at a time, whoever else asks for them meanwhile', async () => {
    start(V_NEXT, {
      keepBeforeRewrite: async (id, copy) => {
        await copy(join(world.folder, `${id}.before`));
      },
    });
    const ids = Array.from({ length: 40 }, adopt);
    const bad = ids[7] ?? '';
    forge(fileOf(world, bad), "UPDATE migrations SET name = 'tampered'");
    const results = await Promise.allSettled([
      ...ids.map((id) => world.engine.migrate(id)),
      ...ids.map((id) => world.engine.use(id, readAll)),
    ]);
    expect(results.filter(({ status }) => status === 'rejected')).to.have.length(2);
    for (const id of ids) await world.engine.quiesce(id);
    const versions = ids.map((id) => versionOf(fileOf(world, id)));
    expect(versions.filter((version) => version === NEXT)).to.have.length(39);
    expect(versionOf(fileOf(world, bad))).to.equal(1);
    expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
  });
});
