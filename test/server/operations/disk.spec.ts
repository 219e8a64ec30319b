import { tmpdir } from 'node:os';
import { expect } from 'chai';
import { createDisk } from '../../../server/operations/disk.ts';
import { createGate } from '../../support/upstream.ts';

const FLOOR = 100;

describe('the room on the disk', () => {
  let free: number;
  const diskOf = () => createDisk(tmpdir(), FLOOR, async () => free);
  const codeOf = (work: Promise<unknown>) =>
    work.then(
      () => 'done',
      (error: { code?: unknown }) => error.code,
    );
  const FULL = 'storage_quota_exceeded';

  it('is given once: of several that would each fit, only those begin that fit together', async () => {
    free = FLOOR + 100;
    const disk = diskOf();
    const gate = createGate();
    const begun: number[] = [];
    const works = [60, 60, 40, 1].map((bytes) =>
      disk.reserving(bytes, async () => {
        begun.push(bytes);
        await gate.pass();
      }),
    );
    expect(
      await Promise.all([codeOf(works[1] as Promise<void>), codeOf(works[3] as Promise<void>)]),
    ).to.deep.equal([FULL, FULL]);
    expect(begun).to.deep.equal([60, 40]);
    expect(await codeOf(disk.reserving(1, async () => {}))).to.equal(FULL);
    gate.open();
    await Promise.all([works[0], works[2]]);
    expect(await codeOf(disk.reserving(100, async () => {}))).to.equal('done');
  });

  it('is given back by work that fails, and by what was refused', async () => {
    free = FLOOR + 100;
    const disk = diskOf();
    expect(await codeOf(disk.reserving(100, () => Promise.reject({ code: 'failed' })))).to.equal('failed');
    expect(await codeOf(disk.reserving(101, async () => {}))).to.equal(FULL);
    expect(await codeOf(disk.reserving(100, async () => {}))).to.equal('done');
  });

  it('may be asked for anew as work turns out larger or smaller', async () => {
    free = FLOOR + 100;
    const disk = diskOf();
    await disk.reserving(0, async (room) => {
      await room.resize(100);
      expect(await codeOf(room.resize(101))).to.equal(FULL);
      expect(await codeOf(disk.reserving(1, async () => {}))).to.equal(FULL);
      await room.resize(30);
      expect(await codeOf(disk.reserving(70, async () => {}))).to.equal('done');
      free -= 80;
      expect(await codeOf(room.resize(30))).to.equal(FULL);
    });
    free += 80;
    expect(await codeOf(disk.reserving(100, async () => {}))).to.equal('done');
  });
});
