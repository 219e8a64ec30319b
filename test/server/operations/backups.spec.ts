import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { createBackups } from '../../../server/operations/backups.ts';
import { createDisk } from '../../../server/operations/disk.ts';
import { createInTurn } from '../../../server/operations/in-turn.ts';
import { createFixture } from '../../control-plane/setup.ts';
import { filesIn } from '../../support/files.ts';
import { startEngine, temporaryFolder } from '../../support/tenants.ts';

describe('a place reserved for a backup', () => {
  it('is empty again where the file in it cannot be made a backup', async () => {
    const world = startEngine();
    const fixture = createFixture();
    const folder = temporaryFolder();
    try {
      const { tenant } = fixture.addTenant();
      const backups = createBackups({
        control: fixture.control,
        engine: world.engine,
        clock: fixture.clock,
        ids: fixture.ids,
        disk: createDisk(folder.path, 0),
        inTurn: createInTurn(),
        log: { error: () => {} },
        folder: folder.path,
        retention: { newest: 1, daily: 0, weekly: 0 },
      });
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
