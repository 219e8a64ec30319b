import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { copyFile, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isId } from '../ids.ts';
import { removeFile } from '../remove-file.ts';
import { hashFile } from './single-file.ts';

const ENDING = '.db';
/** What SQLite may have put beside a database without which that is not whole. */
const COMPANIONS = ['-wal', '-journal'];

/** Where tenants' files are, and where they are while they are not whole yet. */
export interface TenantPaths {
  of(tenantId: string): string;
  /** A name under which nobody looks for a tenant; the same name is never given twice. */
  unfinished(): string;
  /** The tenants that have a file. */
  list(): Promise<string[]>;
  /** The files beside which a `-wal` or a journal lies. */
  unsettled(): Promise<string[]>;
}

export function tenantPaths(
  folder: string,
  ids: () => string,
  { isOwner }: { isOwner: boolean } = { isOwner: true },
): TenantPaths {
  // A folder of their own: what a crash left is removed without a look at the others.
  const nursery = join(folder, '.creating');
  if (isOwner) {
    rmSync(nursery, { recursive: true, force: true });
    mkdirSync(nursery, { mode: 0o700 });
  }
  return {
    of(tenantId) {
      if (!isId(tenantId)) throw new Error('A tenant id is a UUIDv7.');
      return join(folder, tenantId + ENDING);
    },
    unfinished: () => join(nursery, ids() + ENDING),
    async list() {
      const names = await readdir(folder);
      return names
        .filter((name) => name.endsWith(ENDING))
        .map((name) => basename(name, ENDING))
        .filter(isId);
    },
    async unsettled() {
      const names = await readdir(folder);
      const owners = COMPANIONS.flatMap((suffix) =>
        names.filter((name) => name.endsWith(ENDING + suffix)).map((name) => basename(name, ENDING + suffix)),
      );
      return owners.filter(isId).map((id) => join(folder, id + ENDING));
    },
  };
}

/** Flushes a file or a folder to the disk. Never for a tenant's file that may be open: see `removeDatabase`. */
export async function syncToDisk(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Gives a whole, closed file its name for good, in one step that a power cut cannot halve. The new name may be on
 * another file system: the file is copied there under the new name with `.tmp` first.
 * @throws where a `-wal` or a journal lies at the new name: SQLite would read it into the file
 */
export async function publish(from: string, to: string): Promise<void> {
  if (!standsAlone(to)) throw new Error(`${to} has a -wal or a journal beside it.`);
  // Alone it says nothing, but it is of another file.
  await rm(`${to}-shm`, { force: true });
  await moveFiles(from, to, ['']);
}

/**
 * Moves closed files, that a database is made of, in the order of their suffixes. No file system moves one to another,
 * so there each is copied under an unfinished name, and the old ones go when all the new ones are on the disk.
 */
async function moveFiles(from: string, to: string, suffixes: string[]): Promise<void> {
  const copied: string[] = [];
  for (const suffix of suffixes) {
    try {
      await rename(from + suffix, to + suffix);
    } catch (error) {
      if (!isAcrossDevices(error)) throw error;
      await copyUnder(from + suffix, to + suffix);
      copied.push(from + suffix);
    }
  }
  await syncToDisk(dirname(to));
  for (const path of copied) await rm(path);
  if (dirname(from) !== dirname(to)) await syncToDisk(dirname(from));
}

/** Copies a file that nobody has open; whole and on the disk when it has its name. */
async function copyUnder(from: string, to: string): Promise<void> {
  const unfinished = unfinishedOf(to);
  try {
    await copyFile(from, unfinished);
    await syncToDisk(unfinished);
    await rename(unfinished, to);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}

/** Removes what a move to this name from another file system has left that was cut off. */
export async function removeUnfinishedMove(path: string): Promise<void> {
  for (const suffix of ['', ...COMPANIONS]) await rm(unfinishedOf(path + suffix), { force: true });
}

const unfinishedOf = (path: string): string => `${path}.tmp`;

const isAcrossDevices = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EXDEV';

/** Removes a database that no connection of this process has open: closing any descriptor of it would drop SQLite's locks. */
export async function removeDatabase(path: string): Promise<void> {
  for (const suffix of ['', '-wal', '-shm', '-journal']) await removeFile(path + suffix);
}

/** Whether something has this name; a link that leads nowhere has one. */
export const isTaken = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined;

/**
 * Whether a closed file is whole by itself. Where another program kept a `-wal` alive, or a crash left a journal, the
 * file must not be moved or replaced: SQLite would read those into whatever lies there next.
 */
export const standsAlone = (path: string): boolean => !COMPANIONS.some((suffix) => isTaken(path + suffix));

/** Whether a database can be put there: nothing has the name, and nothing lies there that belongs to it. */
export const isFree = (path: string): boolean => !isTaken(path) && standsAlone(path);

/**
 * Moves a closed database, whole or not, with what lies beside it, be it only that. The old name is free then. A move
 * to another file system that was cut off, and has left the same at both places, is brought to its end.
 */
export async function moveDatabase(from: string, to: string): Promise<void> {
  if (!isFree(to) && !(await isHalfMoved(from, to))) {
    throw new Error(`${to}, or a -wal or a journal of it, exists already.`);
  }
  // The file itself last: who is interrupted finds it in its old place, and comes by again.
  const suffixes = [...COMPANIONS, ''].filter((suffix) => isTaken(from + suffix));
  await moveFiles(from, to, suffixes);
  // Says where pages are in a -wal; SQLite makes it anew.
  await rm(`${from}-shm`, { force: true });
}

/** Whether what is at the new place is a copy of what is at the old one. */
async function isHalfMoved(from: string, to: string): Promise<boolean> {
  const isSame = async (suffix: string): Promise<boolean> => {
    const [old, copy] = [from + suffix, to + suffix].map((path) =>
      lstatSync(path, { throwIfNoEntry: false }),
    );
    if (!old?.isFile() || !copy?.isFile() || old.size !== copy.size) return false;
    return (await hashFile(from + suffix)) === (await hashFile(to + suffix));
  };
  // Copied last: where it is there, the others had been too, and may be gone from the old place by now.
  if (isTaken(to)) return isSame('');
  for (const suffix of COMPANIONS) {
    if (isTaken(to + suffix) && !(await isSame(suffix))) return false;
  }
  return true;
}
