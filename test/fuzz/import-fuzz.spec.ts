import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { Fault } from '../../tenant-schema/fault.ts';
import { createRandom, mutate } from '../support/mutate.ts';
import { fileOf, fill, forge, hashOf, leftovers, useAll } from '../support/tenant-files.ts';
import { startEngine, type TestEngine } from '../support/tenants.ts';

const CASES = Number(process.env.FUZZ_CASES ?? 500);
/** Printed with each failure; set it to see that one again. */
const SEED = Number(process.env.FUZZ_SEED ?? 1);
/** So long that only a hang is met by it. */
const HANG_MS = 60_000;

describe('import of damaged files', function () {
  this.timeout(60_000 + CASES * 1000);
  let world: TestEngine;
  before(() => {
    world = startEngine({ importTimeoutMs: HANG_MS });
  });
  after(() => world.stop());

  it('takes each in whole or refuses it, and nothing else changes', async () => {
    const source = join(world.folder, 'source.sqlite');
    const neighbour = await world.tenant('Neighbour');
    await world.engine.use(neighbour, fill);
    const valid = [4096, 512].map((pageBytes) => join(world.folder, `valid-${pageBytes}.sqlite`));
    for (const path of valid) await world.engine.snapshot(neighbour, path);
    forge(valid[1] ?? '', 'PRAGMA page_size = 512; VACUUM');
    const originals = valid.map((path) => readFileSync(path));
    await world.engine.quiesce(neighbour);
    const untouched = hashOf(fileOf(world, neighbour));
    const files = [...readdirSync(world.folder), 'source.sqlite'].sort();

    const ends = { imported: 0, refused: 0 };
    for (let index = 0; index < CASES; index += 1) {
      const seed = SEED * 1_000_000 + index;
      const { file, how } = mutate(originals[index % 2] ?? Buffer.alloc(0), createRandom(seed));
      writeFileSync(source, file);
      try {
        ends[await tryImport(source)] += 1;
        expect(leftovers(world).filter((name) => !name.endsWith('.sqlite'))).to.deep.equal([]);
        expect(readdirSync(world.folder).sort()).to.deep.equal(files);
      } catch (error) {
        throw new Error(`case ${index} of FUZZ_SEED=${SEED} (${how})`, { cause: error });
      }
    }
    expect(hashOf(fileOf(world, neighbour))).to.equal(untouched);
    // Else the damage was too small or too large to test anything.
    expect(ends.imported).to.be.greaterThan(CASES / 50);
    expect(ends.refused).to.be.greaterThan(CASES / 2);
  });

  async function tryImport(source: string): Promise<'imported' | 'refused'> {
    const as = { id: world.ids(), name: 'Fuzz' };
    try {
      await world.engine.importFile(source, as);
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'invalid_database') throw error;
      expect(error.message).not.to.match(/took too long|process fail/);
      return 'refused';
    }
    await world.engine.use(as.id, useAll);
    expect((await world.engine.check(as.id)).problem).to.equal(null);
    await world.engine.destroy(as.id);
    return 'imported';
  }
});
