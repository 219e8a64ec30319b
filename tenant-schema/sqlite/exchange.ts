import { lstatSync } from 'node:fs';
import type { FileReport } from '../engine.ts';
import { isBroken, isNoFaultOfTheFile, translateJob, unavailable } from './errors.ts';
import type { FileWorker } from './file-worker.ts';
import type { Migrations } from './migrator.ts';
import { isFree, moveDatabase, publish } from './paths.ts';

// What becomes of a tenant's old file when a new one takes its place. Nobody has either open meanwhile.

/**
 * Copies data that are about to be replaced, with `build`, which publishes what a job has made; null where SQLite says
 * that it cannot read them, or there are none. All else, a full disk or another program's lock, is no reason to give
 * them up, and is thrown.
 */
export async function keepOld(
  source: string,
  { worker, migrations }: { worker: FileWorker; migrations: Migrations },
  build: (make: (target: string) => Promise<FileReport>) => Promise<FileReport>,
): Promise<FileReport | null> {
  const entry = lstatSync(source, { throwIfNoEntry: false });
  // Beside an empty file, SQLite removes the -wal out of which something might be saved.
  if (!entry?.isFile() || entry.size === 0) return null;
  try {
    return await build((target) =>
      worker.run('snapshot', { source, target, owner: null, as: null, migrations }, null),
    );
  } catch (error) {
    if (isNoFaultOfTheFile(error)) throw translateJob(error);
  }
  // Sound, perhaps, but not to the letter what this program makes; so it is kept.
  try {
    return await build((target) => worker.run('plainCopy', { source, target, changes: [] }, null));
  } catch (error) {
    if (isBroken(error)) return null;
    throw translateJob(error);
  }
}

/** Puts a new file in the place of one that cannot be read, of which nothing may be left beside it. */
export async function publishOverRest(
  ready: string,
  path: string,
  parkAt: string | undefined,
): Promise<void> {
  if (isFree(path)) return publish(ready, path);
  if (parkAt === undefined) throw unavailable(new Error(`${path} cannot be read.`));
  try {
    await moveDatabase(path, parkAt);
    await publish(ready, path);
  } catch (error) {
    if (isFree(path)) await moveDatabase(parkAt, path);
    throw error;
  }
}
