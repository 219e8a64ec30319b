import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  rmdirSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ControlPlane } from '../../../control-plane/types.ts';
import { createBackups } from '../../../server/operations/backups.ts';
import { createDisk } from '../../../server/operations/disk.ts';
import { createInTurn } from '../../../server/operations/in-turn.ts';
import { ADMIN, createFixture, type Fixture } from '../../control-plane/setup.ts';
import { filesIn, filesWith } from '../../support/files.ts';
import { startEngine, type TestEngine, temporaryFolder } from '../../support/tenants.ts';

/** Backups over real files, with a control plane that a test may have tampered with. */
const backupsOf = (
  { engine }: TestEngine,
  { clock, ids, control: untouched }: Fixture,
  folder: string,
  { control = untouched, newest = 9 }: { control?: ControlPlane; newest?: number } = {},
) =>
  createBackups({
    control,
    engine,
    clock,
    ids,
    disk: createDisk(folder, 0),
    inTurn: createInTurn(),
    log: { error: () => {} },
    folder,
    retention: { newest, daily: 0, weekly: 0 },
  });

describe('a copy of control.db', () => {
  it('has no name that counts before it is whole, and leaves nothing where it fails', async () => {
    const world = startEngine();
    const fixture = createFixture();
    const folder = temporaryFolder();
    try {
      const seen: string[][] = [];
      let fails = true;
      const control: ControlPlane = {
        ...fixture.control,
        async snapshot(target) {
          const report = await fixture.control.snapshot(target);
          seen.push(filesIn(folder.path));
          if (fails) throw new Error('cut off');
          return report;
        },
      };
      const backups = backupsOf(world, fixture, folder.path, { control });
      expect(await backups.createOfControl(ADMIN).catch(String)).to.equal('Error: cut off');
      expect(filesIn(folder.path)).to.deep.equal([]);
      fails = false;
      const { id } = await backups.createOfControl(ADMIN);
      expect(seen.flat().filter((name) => name.endsWith('.db'))).to.deep.equal([]);
      expect(filesIn(folder.path)).to.deep.equal([`control/${id}.db`, `control/${id}.json`]);
    } finally {
      await world.stop();
      fixture.remove();
      folder.remove();
    }
  });
});

describe('copies of control.db', () => {
  it('are not begun while tenants are taken out of it: none keeps their names', async function () {
    // Each piece of work on a file is a process of its own.
    this.timeout(60_000);
    const world = startEngine();
    const fixture = createFixture();
    const folder = temporaryFolder();
    try {
      const { tenant } = fixture.addTenant({ name: 'Zanzibar' });
      const backups = backupsOf(world, fixture, folder.path);
      await backups.createOfControl(ADMIN);
      expect(filesWith(folder.path, 'Zanzibar')).to.have.length(1);
      fixture.control.beginPurge(tenant.id, ADMIN);
      let copying: Promise<unknown> = Promise.resolve();
      await backups.forget([tenant.id], async () => {
        copying = backups.createOfControl(ADMIN);
        // Longer than a copy takes to read all of it.
        await fixture.control.snapshot(join(fixture.folder, 'meanwhile.db'));
        fixture.control.forgetTenant(tenant.id);
      });
      await copying;
      expect(filesIn(folder.path)).to.have.length(4);
      expect(filesWith(folder.path, 'Zanzibar')).to.deep.equal([]);
    } finally {
      await world.stop();
      fixture.remove();
      folder.remove();
    }
  });
});

describe('a place reserved for a backup', () => {
  it('is empty again where the file in it cannot be made a backup', async () => {
    const world = startEngine();
    const fixture = createFixture();
    const folder = temporaryFolder();
    try {
      const { tenant } = fixture.addTenant();
      const backups = backupsOf(world, fixture, folder.path);
      const place = await backups.reserve(tenant.id);
      writeFileSync(place.path, 'whole');
      const inTheWay = join(folder.path, tenant.id, `${place.id}.json.tmp`);
      mkdirSync(inTheWay);
      const report = { sizeBytes: 5, sha256: '', schemaVersion: 1, rows: {} };
      const error = await place.publish(report).catch((thrown: unknown) => thrown);
      expect(error).to.have.property('code', 'EISDIR');
      rmdirSync(inTheWay);
      expect(filesIn(folder.path)).to.deep.equal([]);
    } finally {
      await world.stop();
      fixture.remove();
      folder.remove();
    }
  });
});

describe('a backup that is being read', () => {
  it('is read to its end though it has expired meanwhile, however large it is', async function () {
    this.timeout(60_000);
    const world = startEngine();
    const fixture = createFixture();
    const folder = temporaryFolder();
    try {
      const { tenant } = fixture.addTenant({ name: 'Acme' });
      await world.engine.create({ id: tenant.id, name: 'Acme' });
      const backups = backupsOf(world, fixture, folder.path, { newest: 1 });
      const { id } = await backups.create(tenant.id, 'schedule', ADMIN);
      const { path, release } = await backups.open(tenant.id, id);
      // Of a size that would be removed piece by piece.
      truncateSync(path, 20 * 1024 * 1024);
      const file = openSync(path, 'r');
      await backups.create(tenant.id, 'schedule', ADMIN);
      expect(existsSync(path)).to.equal(false);
      expect(fstatSync(file).size).to.equal(20 * 1024 * 1024);
      closeSync(file);
      release();
    } finally {
      await world.stop();
      fixture.remove();
      folder.remove();
    }
  });
});
