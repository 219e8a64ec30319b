import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createBackups } from '../../server/operations/backups.ts';
import { createDisk } from '../../server/operations/disk.ts';
import { createInTurn } from '../../server/operations/in-turn.ts';
import { ADMIN, createFixture } from '../control-plane/setup.ts';
import { folderOnAnotherDevice } from '../support/devices.ts';
import { faultOf } from '../support/faults.ts';
import { filesIn } from '../support/files.ts';
import { ask, companionsOf, fileOf, fill, hashOf, leftovers, readAll } from '../support/tenant-files.ts';
import { startEngine, type TestEngine } from '../support/tenants.ts';

describe('tenant files and another file system', () => {
  let world: TestEngine;
  let away: ReturnType<typeof folderOnAnotherDevice>;
  let target: string;
  beforeEach(() => {
    world = startEngine();
    away = folderOnAnotherDevice();
    target = join(away.path, 'away.db');
    expect(statSync(away.path).dev).not.to.equal(statSync(world.folder).dev);
  });
  afterEach(async () => {
    await world.stop();
    away.remove();
  });
  const filled = async (): Promise<string> => {
    const id = await world.tenant();
    await world.engine.use(id, fill);
    return id;
  };
  const closed = async (): Promise<string> => {
    const id = await filled();
    await world.engine.quiesce(id);
    return id;
  };

  it('takes a copy, whole and private, with nothing left of it here', async () => {
    const report = await world.engine.snapshot(await filled(), target);
    expect([report.sha256, report.sizeBytes]).to.deep.equal([hashOf(target), statSync(target).size]);
    expect(statSync(target).mode & 0o777).to.equal(0o600);
    expect(ask(target, 'PRAGMA integrity_check')).to.equal('ok');
    expect(readdirSync(away.path)).to.deep.equal(['away.db']);
    expect(readdirSync(join(world.folder, '.creating'))).to.deep.equal([]);
  });

  it('takes a tenant, whole, and gives it back', async () => {
    const id = await filled();
    const before = await world.engine.use(id, readAll);
    await world.engine.moveOut(id, target);
    expect(readdirSync(away.path)).to.deep.equal(['away.db']);
    expect(readdirSync(world.folder)).to.deep.equal(['.creating']);
    await world.engine.moveIn(id, target);
    expect(readdirSync(away.path)).to.deep.equal([]);
    expect(leftovers(world)).to.deep.equal([]);
    expect(await world.engine.use(id, readAll)).to.deep.equal(before);
  });

  it('takes a damaged file as it is, with what lies beside it', async () => {
    const id = await closed();
    writeFileSync(fileOf(world, id), Buffer.alloc(8192, 0xa5));
    writeFileSync(`${fileOf(world, id)}-wal`, 'whatever');
    await world.engine.moveOut(id, target);
    expect(companionsOf(fileOf(world, id))).to.deep.equal([]);
    expect(readFileSync(target).equals(Buffer.alloc(8192, 0xa5))).to.equal(true);
  });

  it('parks the damaged file that a restore replaces', async () => {
    const id = await filled();
    const backup = join(world.folder, 'backup.sqlite');
    await world.engine.snapshot(id, backup);
    await world.engine.quiesce(id);
    const damaged = Buffer.alloc(8192, 0xa5);
    writeFileSync(fileOf(world, id), damaged);
    await world.engine.replace({ id, name: 'Acme' }, backup, join(world.folder, 'kept.sqlite'), {
      parkAt: target,
    });
    expect(readFileSync(target).equals(damaged)).to.equal(true);
    await world.engine.use(id, readAll);
  });

  it('brings a move to its end that was cut off, at whichever point', async () => {
    for (const cutOff of ['half a copy', 'a copy and the original']) {
      const id = await closed();
      const path = fileOf(world, id);
      const hash = hashOf(path);
      const to = join(away.path, `${id}.db`);
      copyFileSync(path, cutOff === 'half a copy' ? `${to}.tmp` : to);
      if (cutOff === 'half a copy') truncateSync(`${to}.tmp`, 5000);
      await world.engine.moveOut(id, to);
      expect(hashOf(to)).to.equal(hash);
      expect(filesIn(away.path)).to.deep.equal([`${id}.db`]);

      copyFileSync(to, path);
      await world.engine.moveIn(id, to);
      expect(hashOf(path)).to.equal(hash);
      expect(readdirSync(away.path)).to.deep.equal([]);
    }
  });

  it('leaves nothing of a tenant that is destroyed after its way back was cut off', async () => {
    const id = await closed();
    for (const ending of ['.tmp', '-wal.tmp', '-journal.tmp'])
      writeFileSync(fileOf(world, id) + ending, 'half');
    await world.engine.destroy(id);
    expect(readdirSync(world.folder)).to.deep.equal(['.creating']);
  });

  it('leaves both where another file has the name', async () => {
    const [id, other] = [await closed(), await closed()];
    const [path, to] = [fileOf(world, id), join(away.path, `${id}.db`)];
    copyFileSync(fileOf(world, other), to);
    const before = [hashOf(path), hashOf(to)];
    const thrown = await world.engine.moveOut(id, to).catch(String);
    expect(thrown).to.match(/exists already/);
    expect([hashOf(path), hashOf(to)]).to.deep.equal(before);
  });

  it('leaves the tenant in its place where the copy cannot be written', async () => {
    const id = await closed();
    const before = hashOf(fileOf(world, id));
    mkdirSync(`${target}.tmp`);
    expect(await world.engine.moveOut(id, target).catch(String)).to.match(/EISDIR|ERR_FS/);
    expect(hashOf(fileOf(world, id))).to.equal(before);
    await world.engine.use(id, readAll);
  });

  it('holds backups, from which a tenant is restored', async () => {
    const fixture = createFixture();
    try {
      const { tenant } = fixture.addTenant();
      await world.engine.create(tenant);
      await world.engine.use(tenant.id, fill);
      const backups = createBackups({
        control: fixture.control,
        engine: world.engine,
        clock: fixture.clock,
        ids: fixture.ids,
        disk: createDisk(world.folder, 0),
        inTurn: createInTurn(),
        log: { error: () => {} },
        folder: away.path,
        retention: { newest: 5, daily: 0, weekly: 0 },
      });
      const before = await world.engine.use(tenant.id, readAll);
      const { id, sha256 } = await backups.create(tenant.id, 'manual', ADMIN);
      const { path } = await backups.get(tenant.id, id);
      expect(hashOf(path)).to.equal(sha256);
      expect(filesIn(away.path)).to.deep.equal([`${tenant.id}/${id}.db`, `${tenant.id}/${id}.json`]);
      await world.engine.use(tenant.id, (store) => store.deleteConfig(before.configs[0]?.id ?? ''));
      const place = await backups.reserve(tenant.id);
      await world.engine.replace(tenant, path, place.path);
      expect(await world.engine.use(tenant.id, readAll)).to.deep.equal(before);
      expect((await faultOf(() => backups.get(tenant.id, place.id))).code).to.equal('not_found');
    } finally {
      fixture.remove();
    }
  });
});
