import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { PIECE_BYTES, readPieces, sha256Of } from '../../tenant-schema/pieces.ts';

describe('the pieces of a file', () => {
  const content = Buffer.from(Array.from({ length: 2.5 * PIECE_BYTES }, (_, index) => (index * 7919) % 251));
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nimblesite-pieces-'));
    path = join(folder, 'file');
    writeFileSync(path, content);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function read(start: number, end: number, take: (piece: Buffer) => void | Promise<void>) {
    const file = await open(path);
    try {
      await readPieces(file, { start, end }, take);
    } finally {
      await file.close();
    }
  }
  async function bytesOf(start: number, end: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    await read(start, end, (piece) => {
      pieces.push(Buffer.from(piece));
    });
    return Buffer.concat(pieces);
  }

  it('are all of it, or the part that was asked for', async () => {
    for (const [start, end] of [
      [0, content.length - 1],
      [1, content.length - 2],
      [PIECE_BYTES - 1, PIECE_BYTES],
      [PIECE_BYTES, 2 * PIECE_BYTES - 1],
      [5, 5],
      [0, -1],
    ] as const) {
      const found = await bytesOf(start, end);
      expect(found.equals(content.subarray(start, end + 1)), `${start} to ${end}`).to.equal(true);
    }
  });

  it('lie in one memory, which stays as it is until the piece has been taken', async () => {
    const memories = new Set<ArrayBufferLike>();
    let position = 0;
    await read(0, content.length - 1, async (piece) => {
      memories.add(piece.buffer);
      await new Promise((resolve) => setImmediate(resolve));
      expect(piece.equals(content.subarray(position, position + piece.length))).to.equal(true);
      position += piece.length;
    });
    expect(position).to.equal(content.length);
    expect(memories.size).to.equal(1);
  });

  it('end with what one of them could not be taken for', async () => {
    let taken = 0;
    const failed = await read(0, content.length - 1, async () => {
      taken += 1;
      throw new Error('The client has left.');
    }).catch((error: unknown) => error);
    expect(failed).to.be.instanceOf(Error).with.property('message', 'The client has left.');
    expect(taken).to.equal(1);
  });

  it('are not said to be all where the file has fewer', async () => {
    const failed = await bytesOf(0, content.length).catch((error: unknown) => error);
    expect(failed).to.be.instanceOf(Error);
    expect(String(failed)).to.include(`ends at byte ${content.length}`);
  });

  it('have one digest together', async () => {
    expect(await sha256Of(path)).to.equal(createHash('sha256').update(content).digest('hex'));
    writeFileSync(path, '');
    expect(await sha256Of(path)).to.equal(createHash('sha256').digest('hex'));
  });
});
