import { existsSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { removeFile } from '../../tenant-schema/remove-file.ts';
import { temporaryFolder } from '../support/tenants.ts';

const MIB = 1024 * 1024;

describe('the removal of a file', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  beforeEach(() => {
    folder = temporaryFolder();
  });
  afterEach(() => folder.remove());

  it('leaves nothing of it, however large it is, and minds nothing that is not there', async () => {
    for (const bytes of [0, 1, 16 * MIB, 16 * MIB + 1, 41 * MIB]) {
      const path = join(folder.path, 'x.db');
      writeFileSync(path, '');
      truncateSync(path, bytes);
      await removeFile(path);
      expect(existsSync(path), String(bytes)).to.equal(false);
      await removeFile(path);
    }
  });

  it('removes no folder that has its name', async () => {
    const path = join(folder.path, 'x.db');
    mkdirSync(path);
    const error: unknown = await removeFile(path).catch((reason: unknown) => reason);
    expect(error).to.be.an('error');
    expect(existsSync(path)).to.equal(true);
  });
});
