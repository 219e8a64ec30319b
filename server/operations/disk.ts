import { open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '../../tenant-schema/fault.ts';

/** Room on the disk under the data folder. */
export interface Disk {
  /**
   * Runs work that writes so many bytes, with room that nobody else can count on.
   * @throws `storage_quota_exceeded` unless they fit, beside what others have reserved, and leave the floor free
   */
  reserving<T>(bytes: number, work: (room: Room) => Promise<T>): Promise<T>;
  freeBytes(): Promise<number>;
}

/** What one piece of work has reserved. */
export interface Room {
  /** Makes it so many bytes from now on, those that are written already apart. @throws as `reserving` */
  resize(bytes: number): Promise<void>;
}

const full = (cause?: unknown): Fault =>
  new Fault(
    'storage_quota_exceeded',
    "The server's disk is full; its operator has to make room.",
    cause === undefined ? {} : { cause },
  );

/** @param freeBytes what the disk under the data folder has free; only tests give one. */
export function createDisk(
  dataDir: string,
  freeBytesMin: number,
  freeBytes: () => Promise<number> = async () => {
    const { bavail, bsize } = await statfs(dataDir);
    return bavail * bsize;
  },
): Disk {
  let reserved = 0;
  return {
    freeBytes,
    async reserving(bytes, work) {
      let own = 0;
      const resize = async (next: number): Promise<void> => {
        const free = await freeBytes();
        // Nothing may be waited for between the look and the reservation: others would find the same room.
        if (free < freeBytesMin + reserved - own + next) throw full();
        reserved += next - own;
        own = next;
      };
      try {
        await resize(bytes);
        return await work({ resize });
      } finally {
        reserved -= own;
      }
    },
  };
}

/** The system's and SQLite's words for a disk that became full on the way; SQLite's come from another process as text. */
const DISK_FULL = /\bENOSPC\b|\bEDQUOT\b|database or disk is full/;
/** SQLite's code where there is no room for the -shm beside a file that is opened; its words are those of any such error. */
const NO_ROOM_TO_OPEN = 'SQLITE_IOERR_SHMSIZE';

const isFull = (error: unknown): boolean =>
  error instanceof Error &&
  !(error instanceof Fault) &&
  (DISK_FULL.test(error.message) || ('code' in error && error.code === NO_ROOM_TO_OPEN));

/** What the system says where a folder was mounted read-only, or is somebody else's. */
const NOT_WRITABLE = ['EROFS', 'EACCES', 'EPERM'];

const isNotWritable = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && NOT_WRITABLE.includes(String(error.code));

const notWritable = (cause: unknown): Fault =>
  new Fault(
    'internal_error',
    'The server may not write to its data folder, which is read-only or not its own; its operator has to set that right.',
    { cause },
  );

/**
 * Runs work that fills the disk.
 * @throws `storage_quota_exceeded` where it became full, `internal_error` that says so where it must not be written to
 */
export async function filling<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isFull(error)) throw full(error);
    throw isNotWritable(error) ? notWritable(error) : error;
  }
}

/** Flushes a folder's list of names. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Writes a small file that is there whole, on the disk, when this resolves, or not at all. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const unfinished = `${path}.tmp`;
  try {
    const file = await open(unfinished, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
  } catch (error) {
    // What cannot be removed either must not hide the reason.
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Removes everything in a folder of unfinished work. */
export async function emptyFolder(path: string): Promise<void> {
  for (const name of await readdir(path)) await rm(join(path, name), { recursive: true, force: true });
}
