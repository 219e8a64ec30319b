import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const KIB = 1024;
const PIECE = Buffer.alloc(64 * KIB, 'x');

/** The disk that `full-disk.spec.ts` has mounted for these tests. */
export const DISK = process.env.SMALL_DISK ?? '';

const BALLAST = join(DISK, 'ballast');

export function freeBytes(): number {
  const { bavail, bsize } = statfsSync(DISK);
  return bavail * bsize;
}

/** Fills the disk up to the given number of bytes, in whole pages. */
export function fillDisk(leaveBytes: number): void {
  makeRoom();
  const pages = Math.floor((freeBytes() - leaveBytes) / (4 * KIB));
  if (pages < 0) throw new Error(`The disk has only ${freeBytes()} bytes free.`);
  const file = openSync(BALLAST, 'w');
  try {
    let left = pages * 4 * KIB;
    while (left > 0) left -= writeSync(file, PIECE, 0, Math.min(left, PIECE.length));
    ftruncateSync(file, pages * 4 * KIB);
  } finally {
    closeSync(file);
  }
}

/** Runs `work` while nothing can be written under a folder of the disk, but for what is open already. */
export async function readOnly(folder: string, work: () => Promise<void>): Promise<void> {
  execFileSync('mount', ['--bind', folder, folder]);
  try {
    execFileSync('mount', ['-o', 'remount,bind,ro', folder]);
    await work();
  } finally {
    execFileSync('umount', ['--lazy', folder]);
  }
}

export const makeRoom = (): void => rmSync(BALLAST, { force: true });
