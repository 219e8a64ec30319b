import { createHash } from 'node:crypto';
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
import { setImmediate } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import type { ReplaceOptions } from '../../tenant-schema/engine.ts';
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
  hashOf,
  leftovers,
  readAll,
  until,
} from '../support/tenant-files.ts';
import { begin, chat, configContent, startEngine, type TestEngine, turnRequest } from '../support/tenants.ts';

const MIB = 1024 * 1024;
const countConfigs = (store: TenantStore) => store.listConfigs({ limit: 100, cursor: null }).data.length;
const addConfig = (name: string) => (store: TenantStore) => store.createConfig(configContent({ name }));
const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => expect.fail('expected an error'),
    (error: unknown) => error,
  );

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('work on whole tenant files', () => {
  let world: TestEngine;
  let target: string;
  beforeEach(() => {
    world = startEngine();
    target = join(world.folder, 'copy.sqlite');
  });
  afterEach(() => world.stop());

  /** A tenant with a bit of everything in it. */
  const filled = async (name?: string): Promise<string> => {
    const id = await world.tenant(name);
    await world.engine.use(id, fill);
    return id;
  };
  const closed = async (id: string): Promise<string> => {
    expect(await world.engine.quiesce(id)).to.equal(true);
    return fileOf(world, id);
  };
  /** A connection of another program that keeps the file's `-wal` alive. */
  const outside = (id: string): Database.Database => {
    const db = new Database(fileOf(world, id));
    db.prepare('SELECT count(*) FROM tenant').get();
    return db;
  };

  describe('snapshot', () => {
    it('holds all that was there, in one private file whose figures are told', async () => {
      const id = await filled();
      const before = await world.engine.use(id, readAll);
      const report = await world.engine.snapshot(id, target);
      expect(companionsOf(target)).to.deep.equal([]);
      expect(statSync(target).mode & 0o777).to.equal(0o600);
      expect(report.sizeBytes).to.equal(statSync(target).size);
      expect(report.sha256).to.equal(hashOf(target));
      expect(report.schemaVersion).to.equal(world.engine.schemaVersion);
      expect(report.rows).to.deep.include({ configs: 2, conversations: 4, open_turns: 0, turns: 7 });
      expect(Object.keys(report.rows)).to.have.members([
        'configs',
        'config_versions',
        'conversations',
        'messages',
        'open_turns',
        'turns',
        'turn_contents',
        'usage_days',
      ]);
      expect(ask(target, 'SELECT id FROM tenant')).to.equal(id);

      const copy = world.ids();
      copyFileSync(target, fileOf(world, copy));
      forge(fileOf(world, copy), `UPDATE tenant SET id = '${copy}'`);
      expect(await world.engine.use(copy, readAll)).to.deep.equal(before);
    });

    it('holds all of a file that is so large that it is copied in steps', async () => {
      const id = await filled();
      await world.engine.use(id, (store) => {
        const config = store.createConfig(configContent({ name: 'Large' }));
        for (let count = 0; count < 20; count += 1) chat(store, config.id, 'x'.repeat(1024 * 1024), 'y');
      });
      await world.engine.quiesce(id);
      const contents = (path: string): Record<string, string> => {
        const db = new Database(path, { readonly: true });
        const tables = db
          .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'")
          .pluck()
          .all();
        const rows = tables
          .filter((name) => name !== 'open_turns' && name !== 'turns' && name !== 'usage_days')
          .map((name) => [name, sha256(JSON.stringify(db.prepare(`SELECT * FROM ${name}`).raw().all()))]);
        db.close();
        return Object.fromEntries(rows);
      };
      const report = await world.engine.snapshot(id, target);
      expect(report.sizeBytes).to.be.greaterThan(20 * 1024 * 1024);
      expect(contents(target)).to.deep.equal(contents(fileOf(world, id)));
      expect(ask(target, 'PRAGMA integrity_check')).to.equal('ok');
      expect(ask(target, 'PRAGMA auto_vacuum')).to.equal(2);
      const schema = "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)";
      expect(ask(target, schema)).to.equal(ask(fileOf(world, id), schema));
    });

    it('closes open turns as aborted in the copy and leaves them running in the original', async () => {
      const id = await world.tenant();
      const turn = await world.engine.use(id, (store) => {
        const config = store.createConfig(configContent());
        const { conversationId } = chat(store, config.id, 'hi', 'ho');
        return begin(store, turnRequest(config.id, 'still running', { conversationId }));
      });
      await world.engine.snapshot(id, target);
      expect(ask(target, 'SELECT count(*) FROM open_turns')).to.equal(0);
      expect(ask(target, `SELECT status FROM turns WHERE id = '${turn.id}'`)).to.equal('aborted');
      const { status } = await world.engine.use(id, (store) => store.getConversation(turn.conversationId));
      expect(status).to.equal('busy');
    });

    it('shows one moment of a tenant that goes on writing, and keeps nobody waiting', async () => {
      const [id, other] = [await world.tenant(), await world.tenant()];
      grow(await closed(id), 8 * MIB);
      const config = await world.engine.use(id, addConfig('busy'));
      let finished = false;
      const copying = world.engine.snapshot(id, target).finally(() => {
        finished = true;
      });
      let turns = 0;
      for (; !finished; turns += 1) {
        await world.engine.use(id, (store) => chat(store, config.id, `question ${turns}`, `answer ${turns}`));
        await world.engine.use(other, countConfigs);
        await setImmediate();
      }
      await copying;
      // All of them while the copy was under way.
      expect(turns).to.be.greaterThan(20);
      const copied = Number(ask(target, "SELECT count(*) FROM turns WHERE status = 'ok'"));
      expect(copied).to.be.at.most(turns);
      expect(
        ask(
          target,
          `SELECT count(*) FROM conversations WHERE message_count <>
             (SELECT count(*) FROM messages WHERE conversation_id = conversations.id)`,
        ),
      ).to.equal(0);
      expect(ask(target, 'SELECT count(*) FROM conversations')).to.equal(copied + 1);
    });

    it('keeps nobody waiting by way of a quiesce, which gives up and closes the file', async () => {
      const id = await world.tenant();
      grow(await closed(id), 8 * MIB);
      let finished = false;
      const copying = world.engine.snapshot(id, target).finally(() => {
        finished = true;
      });
      // By the time it has let another use the file, it reads.
      await world.engine.use(id, countConfigs);
      await setImmediate();
      expect(world.engine.stats().open).to.equal(1);
      expect(await world.engine.quiesce(id)).to.equal(false);
      expect(world.engine.stats().open).to.equal(0);
      let quiesced: Promise<boolean> | undefined;
      await world.engine.use(id, () => {
        quiesced = world.engine.quiesce(id);
        return quiesced;
      });
      expect(world.engine.stats().open, 'closed as soon as its holder was done').to.equal(0);
      expect([await quiesced, finished]).to.deep.equal([false, false]);
      await copying;
      expect(await world.engine.quiesce(id)).to.equal(true);
    });

    it('refuses a name that is taken, and leaves what is there', async () => {
      const id = await filled();
      writeFileSync(target, 'precious');
      expect(await failure(world.engine.snapshot(id, target))).to.match(/exists already/);
      expect(readFileSync(target, 'utf8')).to.equal('precious');
      expect(leftovers(world).filter((name) => name.startsWith('.creating'))).to.deep.equal([]);
    });

    it('leaves nothing behind where its process is killed, and the next one works', async () => {
      const id = await world.tenant();
      grow(await closed(id), 24 * MIB);
      const copying = failure(world.engine.snapshot(id, target));
      await until(() => leftovers(world).some((name) => name.startsWith('.creating')));
      for (const pid of fileWorkers()) process.kill(pid, 'SIGKILL');
      expect(await copying).to.match(/was ended \(SIGKILL\)/);
      expect(existsSync(target)).to.equal(false);
      expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
      await world.engine.snapshot(id, target);
      expect(ask(target, 'PRAGMA integrity_check')).to.equal('ok');
      await closed(id);
      expect(leftovers(world)).to.deep.equal(['copy.sqlite']);
    });

    it('is ended when the engine closes, without a trace or a -wal', async () => {
      const id = await world.tenant();
      grow(await closed(id), 24 * MIB);
      await world.engine.use(id, addConfig('x'));
      const copying = faultOf(() => world.engine.snapshot(id, target));
      await until(() => leftovers(world).some((name) => name.startsWith('.creating')));
      await world.engine.close();
      expect((await copying).code).to.equal('overloaded');
      expect(leftovers(world)).to.deep.equal([]);
      expect(fileWorkers()).to.deep.equal([]);
      expect((await faultOf(() => world.engine.snapshot(id, target))).code).to.equal('overloaded');
      expect((await faultOf(() => world.engine.moveOut(id, target))).code).to.equal('overloaded');
    });

    it('does without the statistics that ANALYZE has put into the file', async () => {
      const id = await filled();
      const path = await closed(id);
      forge(path, 'ANALYZE');
      const tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sqlite_stat%'";
      expect(ask(path, tables)).to.be.greaterThan(0);
      await world.engine.snapshot(id, target);
      expect(ask(target, tables)).to.equal(0);
      expect((await world.engine.check(id)).problem).to.equal(null);
    });

    it('says that the tenant is unavailable where its file is damaged or missing', async () => {
      const id = await filled();
      const path = await closed(id);
      renameSync(path, `${path}.away`);
      expect((await faultOf(() => world.engine.snapshot(id, target))).code).to.equal('tenant_unavailable');
      writeFileSync(path, readFileSync(`${path}.away`).fill(0xff, 20_000));
      expect((await faultOf(() => world.engine.snapshot(id, target))).code).to.equal('tenant_unavailable');
      expect(existsSync(target)).to.equal(false);
      expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
    });
  });

  describe('clone', () => {
    it('is the database of another tenant, with data of its own', async () => {
      const id = await filled('Original Ltd.');
      const before = await world.engine.use(id, readAll);
      const as = { id: world.ids(), name: 'Staging' };
      await world.engine.clone(id, as);
      expect(await world.engine.use(as.id, readAll)).to.deep.equal(before);
      await world.engine.use(as.id, addConfig('only here'));
      expect(await world.engine.use(id, readAll)).to.deep.equal(before);
      const path = await closed(as.id);
      expect(ask(path, 'SELECT id || name FROM tenant')).to.equal(`${as.id}Staging`);
      expect(readFileSync(path).includes(id)).to.equal(false);
      expect(readFileSync(path).includes('Original Ltd.')).to.equal(false);
    });
  });

  describe('replace', () => {
    const keptPath = () => join(world.folder, 'kept.sqlite');

    it('puts the new data in place and keeps a snapshot of the old', async () => {
      const id = await world.tenant();
      await world.engine.use(id, addConfig('yesterday'));
      await world.engine.snapshot(id, target);
      await world.engine.use(id, addConfig('today'));
      const { kept, restored } = await world.engine.replace({ id, name: 'Acme' }, target, keptPath());
      expect(await world.engine.use(id, countConfigs)).to.equal(1);
      expect(restored.rows.configs).to.equal(1);
      expect(kept?.rows.configs).to.equal(2);
      expect(kept?.sha256).to.equal(hashOf(keptPath()));
      expect(ask(keptPath(), 'SELECT count(*) FROM configs')).to.equal(2);
    });

    it('leaves the tenant as it was, to the byte, where the new file is bad or another tenant’s, or the old one cannot be had', async () => {
      const id = await filled();
      const path = await closed(id);
      const before = hashOf(path);
      writeFileSync(target, 'no database');
      const fault = await faultOf(() => world.engine.replace({ id, name: 'Acme' }, target, keptPath()));
      expect(fault.code).to.equal('invalid_database');
      expect(hashOf(path)).to.equal(before);

      const foreign = join(world.folder, 'foreign.sqlite');
      const other = await filled();
      await world.engine.snapshot(other, foreign);
      const refusal = await faultOf(() => world.engine.replace({ id, name: 'Acme' }, foreign, keptPath()));
      expect(refusal.code).to.equal('invalid_database');
      expect(refusal.message).to.include(`belongs to tenant ${other}`);
      expect(hashOf(path)).to.equal(before);

      const good = join(world.folder, 'good.sqlite');
      await world.engine.snapshot(id, good);
      await closed(id);
      const nowhere = join(world.folder, 'no such folder', 'kept.sqlite');
      expect(await failure(world.engine.replace({ id, name: 'Acme' }, good, nowhere))).to.match(/ENOENT/);
      await closed(id);
      expect(hashOf(path)).to.equal(before);
      expect(existsSync(keptPath())).to.equal(false);
      expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
    });

    it('refuses while another program has the data open, and nothing is lost', async () => {
      const id = await filled();
      await world.engine.snapshot(id, target);
      await world.engine.use(id, addConfig('since then'));
      const before = await world.engine.use(id, readAll);
      const db = outside(id);
      try {
        const fault = await faultOf(() => world.engine.replace({ id, name: 'Acme' }, target, keptPath()));
        expect(fault.code).to.equal('overloaded');
        expect(existsSync(keptPath())).to.equal(false);
        const moving = await faultOf(() => world.engine.moveOut(id, join(world.folder, 'away.sqlite')));
        expect(moving.code).to.equal('overloaded');
      } finally {
        db.close();
      }
      expect(await world.engine.use(id, readAll)).to.deep.equal(before);
    });
  });

  describe('replace, where the old file is not as it should be,', () => {
    const keptPath = () => join(world.folder, 'kept.sqlite');
    const parkAt = () => join(world.folder, 'parked.sqlite');
    const replace = (id: string, options: ReplaceOptions = { parkAt: parkAt() }) =>
      world.engine.replace({ id, name: 'Acme' }, target, keptPath(), options);
    /** A tenant with one config, of which `target` is a snapshot. */
    const saved = async (): Promise<string> => {
      const id = await world.tenant();
      await world.engine.use(id, addConfig('yesterday'));
      await world.engine.snapshot(id, target);
      return id;
    };
    const expectRestored = async (id: string): Promise<void> => {
      expect(await world.engine.use(id, countConfigs)).to.equal(1);
      await world.engine.use(id, addConfig('after the restore'));
      const path = await closed(id);
      expect(ask(path, 'PRAGMA integrity_check')).to.equal('ok');
      expect(ask(path, 'SELECT count(*) FROM configs'), 'what was written since is there').to.equal(2);
      expect(await world.engine.use(id, countConfigs)).to.equal(2);
    };

    it('lets go of a file that was removed while it was open', async () => {
      const id = await saved();
      await world.engine.use(id, addConfig('today'));
      rmSync(fileOf(world, id));
      expect((await replace(id)).kept).to.equal(null);
      expect(companionsOf(fileOf(world, id))).to.deep.equal([]);
      await expectRestored(id);
    });

    for (const suffix of ['-wal', '-journal']) {
      it(`reads nothing out of a ${suffix} that a lost file has left`, async () => {
        const id = await saved();
        await world.engine.use(id, addConfig('today'));
        const path = fileOf(world, id);
        const rest = join(world.folder, 'rest');
        if (suffix === '-wal') copyFileSync(`${path}-wal`, rest);
        else writeFileSync(rest, 'whatever');
        await closed(id);
        rmSync(path);
        renameSync(rest, path + suffix);
        const bytes = readFileSync(path + suffix);
        expect((await replace(id)).kept).to.equal(null);
        expect(companionsOf(path)).to.deep.equal([]);
        await expectRestored(id);
        expect(readFileSync(parkAt() + suffix).equals(bytes)).to.equal(true);
      });

      it(`puts no file to a ${suffix} that is not its own`, async () => {
        const id = await saved();
        await world.engine.moveOut(id, join(world.folder, 'away.sqlite'));
        const stray = fileOf(world, id) + suffix;
        writeFileSync(stray, 'whatever');
        const move = () => world.engine.moveIn(id, join(world.folder, 'away.sqlite'));
        expect((await faultOf(move)).code).to.equal('tenant_unavailable');
        for (const work of [
          () => world.engine.importFile(target, { id, name: 'Acme' }),
          () => world.engine.create({ id, name: 'Acme' }),
          () => world.engine.moveOut(id, target),
        ]) {
          expect(await failure(work())).to.be.an('error');
        }
        expect(readFileSync(stray, 'utf8')).to.equal('whatever');
        expect(existsSync(fileOf(world, id))).to.equal(false);
        rmSync(stray);
        await move();
        expect(await world.engine.use(id, countConfigs)).to.equal(1);
      });
    }

    it('parks one that cannot be read, with every byte', async () => {
      for (const bytes of [Buffer.alloc(8192, 0xa5), Buffer.alloc(0)]) {
        const id = await saved();
        const path = await closed(id);
        writeFileSync(path, bytes);
        expect((await replace(id)).kept).to.equal(null);
        expect(readFileSync(parkAt()).equals(bytes)).to.equal(true);
        expect(existsSync(keptPath())).to.equal(false);
        await expectRestored(id);
        for (const done of [parkAt(), target]) rmSync(done);
      }
    });

    it('keeps one that is sound as it is, whatever somebody has put into it', async () => {
      const id = await saved();
      await world.engine.use(id, addConfig('today'));
      forge(await closed(id), 'CREATE TABLE notes AS SELECT 42 AS answer');
      const { kept } = await replace(id);
      expect(kept?.rows).to.include({ configs: 2, notes: 1 });
      expect(kept?.sha256).to.equal(hashOf(keptPath()));
      expect(ask(keptPath(), 'SELECT answer FROM notes')).to.equal(42);
      expect(existsSync(parkAt())).to.equal(false);
      await expectRestored(id);
    });

    it('does not take a lock for damage', async () => {
      const id = await saved();
      const path = await closed(id);
      const before = hashOf(path);
      const db = new Database(path);
      try {
        db.pragma('locking_mode = EXCLUSIVE');
        db.exec('BEGIN IMMEDIATE; COMMIT');
        expect((await faultOf(() => replace(id))).code).to.equal('overloaded');
      } finally {
        db.close();
      }
      expect(hashOf(path)).to.equal(before);
      expect(readdirSync(world.folder)).to.not.include.members(['parked.sqlite', 'kept.sqlite']);
    });

    it('leaves it to the byte where it cannot be replaced', async () => {
      const id = await saved();
      const path = await closed(id);
      writeFileSync(path, Buffer.alloc(8192, 0xa5));
      const before = hashOf(path);
      const stop = () => Promise.reject(new Error('stop'));
      expect(await failure(replace(id, { parkAt: parkAt(), onKept: stop }))).to.match(/stop/);
      expect(await failure(replace(id, { parkAt: join(world.folder, 'no such folder', 'x') }))).to.match(
        /ENOENT/,
      );
      expect((await faultOf(() => replace(id, {}))).code).to.equal('tenant_unavailable');
      writeFileSync(target, 'no database');
      expect((await faultOf(() => replace(id))).code).to.equal('invalid_database');
      expect(hashOf(path)).to.equal(before);
      expect(companionsOf(path)).to.deep.equal([]);
      expect(existsSync(parkAt())).to.equal(false);
      expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
    });

    it('begins the exchange only when the new data are whole', async () => {
      const id = await saved();
      let begun = 0;
      const during = <T>(exchange: () => Promise<T>): Promise<T> => {
        begun += 1;
        expect(readdirSync(join(world.folder, '.creating'))).to.have.length(1);
        return exchange();
      };
      await replace(id, { during });
      expect(begun).to.equal(1);
      writeFileSync(target, 'no database');
      await faultOf(() => replace(id, { during }));
      expect(begun).to.equal(1);
    });
  });

  describe('moving and closing', () => {
    it('moves a tenant out, whole, and back in', async () => {
      const id = await filled();
      const before = await world.engine.use(id, readAll);
      await world.engine.moveOut(id, target);
      expect(readdirSync(world.folder).sort()).to.deep.equal(['.creating', 'copy.sqlite']);
      expect((await faultOf(() => world.engine.use(id, countConfigs))).code).to.equal('tenant_unavailable');
      await world.engine.moveIn(id, target);
      expect(await world.engine.use(id, readAll)).to.deep.equal(before);
      expect(await failure(world.engine.moveIn(id, target))).to.match(/exists already/);
    });

    it('brings in what a crash left in a -wal before a file is moved or said to stand alone', async () => {
      for (const work of ['moveOut', 'quiesce'] as const) {
        const id = await filled();
        await world.engine.use(id, addConfig('the latest'));
        const configs = await world.engine.use(id, countConfigs);
        // The state in which a killed server leaves a file: copied while it is open, under another name.
        const crashed = world.ids();
        copyFileSync(fileOf(world, id), `${fileOf(world, crashed)}`);
        copyFileSync(`${fileOf(world, id)}-wal`, `${fileOf(world, crashed)}-wal`);
        const path = work === 'moveOut' ? join(world.folder, `${work}.sqlite`) : fileOf(world, crashed);
        if (work === 'moveOut') await world.engine.moveOut(crashed, path);
        else expect(await world.engine.quiesce(crashed)).to.equal(true);
        expect(companionsOf(path)).to.deep.equal([]);
        expect(ask(path, 'SELECT count(*) FROM configs')).to.equal(configs);
      }
    });

    it('moves a damaged file out of the way as it is', async () => {
      const id = await world.tenant();
      const path = await closed(id);
      writeFileSync(path, Buffer.alloc(8192, 0xa5));
      writeFileSync(`${path}-wal`, 'whatever');
      await world.engine.moveOut(id, target);
      expect(companionsOf(path)).to.deep.equal([]);
      expect(readFileSync(target).equals(Buffer.alloc(8192, 0xa5))).to.equal(true);
    });

    it('leaves no -wal when asked to, and says so where another program keeps it', async () => {
      const id = await filled();
      const db = outside(id);
      await world.engine.use(id, addConfig('x'));
      expect(await world.engine.quiesce(id)).to.equal(false);
      expect(companionsOf(fileOf(world, id))).to.include('-wal');
      db.close();
      expect(await world.engine.quiesce(id)).to.equal(true);
      expect(companionsOf(fileOf(world, id))).to.deep.equal([]);
      const fault = await faultOf(() => world.engine.quiesce(world.ids()));
      expect(fault.code).to.equal('tenant_unavailable');
    });

    it('waits with exclusive work for those who use or copy the file, and lets nobody in before it ends', async () => {
      const id = await world.tenant();
      grow(await closed(id), 8 * MIB);
      const order: string[] = [];
      const note = (what: string) => () => order.push(what);
      const copying = world.engine.snapshot(id, target).then(note('copied'));
      await until(() => leftovers(world).some((name) => name.startsWith('.creating')));
      const away = join(world.folder, 'away.sqlite');
      const moving = world.engine.moveOut(id, away).then(note('moved out'));
      const late = [
        faultOf(() => world.engine.use(id, countConfigs)).then(note('refused')),
        world.engine.check(id).then(note('checked')),
      ];
      await Promise.all([copying, moving, ...late]);
      expect(order.slice(0, 2)).to.deep.equal(['copied', 'moved out']);
      expect(order.slice(2)).to.have.members(['refused', 'checked']);

      await world.engine.moveIn(id, away);
      let leave = (): void => {};
      const held = world.engine.use(id, async () => {
        await new Promise<void>((resolve) => {
          leave = resolve;
        });
        order.push('left');
      });
      const again = world.engine.moveOut(id, away).then(note('moved out again'));
      await until(() => world.engine.stats().leased === 1);
      leave();
      await Promise.all([held, again]);
      expect(order.slice(4)).to.deep.equal(['left', 'moved out again']);
    });
  });

  describe('check', () => {
    it('finds a sound file sound, and leaves it alone with every byte as it was', async () => {
      const id = await filled('Sound Ltd.');
      const path = await closed(id);
      const before = hashOf(path);
      expect(await world.engine.check(id)).to.deep.equal({
        tenant: { id, name: 'Sound Ltd.' },
        schemaVersion: world.engine.schemaVersion,
        sizeBytes: statSync(path).size,
        problem: null,
      });
      expect(hashOf(path)).to.equal(before);
      expect(leftovers(world)).to.deep.equal([]);
    });

    it('does not disturb a server that has the file open', async () => {
      const id = await filled();
      await world.engine.use(id, async (store) => {
        expect((await world.engine.check(id)).problem).to.equal(null);
        store.createConfig(configContent({ name: 'afterwards' }));
        expect(companionsOf(fileOf(world, id))).to.include('-wal');
      });
      expect((await world.engine.check(id)).problem).to.equal(null);
    });

    const problems: Record<string, [(path: string) => void, RegExp]> = {
      'a missing file': [(path) => renameSync(path, `${path}.away`), /ENOENT/],
      'a link': [
        (path) => {
          renameSync(path, `${path}.away`);
          symlinkSync(`${path}.away`, path);
        },
        /not a regular file/,
      ],
      'an empty file': [(path) => writeFileSync(path, ''), /not a tenant/],
      'random bytes': [(path) => writeFileSync(path, Buffer.alloc(8192, 0xa5)), /not a database/],
      'a damaged page': [
        (path) => writeFileSync(path, readFileSync(path).fill(0xff, 3 * 4096, 4 * 4096)),
        /damaged|malformed/,
      ],
      'a trigger': [
        (path) => forge(path, 'CREATE TRIGGER spy AFTER INSERT ON turns BEGIN DELETE FROM messages; END'),
        /trigger that does not belong there: "spy"/,
      ],
      'rows that refer to nothing': [(path) => forge(path, 'DELETE FROM conversations'), /refer to nothing/],
      'two tenants': [
        (path) => forge(path, "INSERT INTO tenant VALUES ('x', 'x', 1)"),
        /does not name one tenant/,
      ],
      'a newer schema': [(path) => forge(path, 'PRAGMA user_version = 99'), /schema version 99/],
    };
    for (const [what, [damage, problem]] of Object.entries(problems)) {
      it(`tells of ${what} and changes nothing`, async () => {
        const id = await filled();
        const path = await closed(id);
        damage(path);
        const before = existsSync(path) ? hashOf(path) : null;
        expect((await world.engine.check(id)).problem).to.match(problem);
        expect(existsSync(path) ? hashOf(path) : null).to.equal(before);
        expect(companionsOf(path)).to.deep.equal([]);
      });
    }
  });

  it('tells size and last change without opening the file', async () => {
    const id = await filled();
    const path = await closed(id);
    const { misses } = world.engine.stats();
    const stat = await world.engine.stat(id);
    expect(stat).to.deep.equal({ changedAt: statSync(path).mtimeMs, sizeBytes: statSync(path).size });
    expect(world.engine.stats()).to.include({ misses, open: 0 });
    await world.engine.use(id, addConfig('x'));
    expect((await world.engine.stat(id)).sizeBytes).to.be.greaterThan(stat.sizeBytes);
  });

  it('lists tenants by their files, and nothing else that lies there', async () => {
    const id = await world.tenant();
    writeFileSync(join(world.folder, world.ids()), 'a file without the ending');
    writeFileSync(join(world.folder, 'notes.db'), '');
    expect(await world.engine.list()).to.deep.equal([id]);
  });
});
