import type { FileReport, TenantName } from '../engine.ts';
import { Fault } from '../fault.ts';
import { reasonToRefuse } from './errors.ts';
import type { FileWorker } from './file-worker.ts';
import type { Migrations } from './migrator.ts';
import { isFree, publish, removeDatabase, type TenantPaths } from './paths.ts';

/** Makes new files out of others, each under an unfinished name first. */
export interface NewFiles {
  /** Makes a new file and publishes it; leaves nothing behind where that fails. */
  build<T>(target: string, make: (unfinished: string) => Promise<T>): Promise<T>;
  /**
   * Makes the file of `tenant` out of one that nobody vouches for.
   * @param how.isOwn whether it is a backup of this very tenant, which brings its counters
   * @throws `invalid_database` with the reason
   */
  readForeign(
    worker: FileWorker,
    source: string,
    tenant: TenantName,
    target: string,
    how: { isOwn: boolean },
  ): Promise<FileReport>;
  /** Resolves when every file from elsewhere is done with, and nothing is left of those that failed. */
  settled(): Promise<void>;
}

export function createNewFiles(parts: {
  paths: TenantPaths;
  migrations: Migrations;
  importTimeoutMs: number;
}): NewFiles {
  const { paths, migrations } = parts;
  const underWay = new Set<Promise<unknown>>();

  const read = async (
    worker: FileWorker,
    source: string,
    tenant: TenantName,
    target: string,
    { isOwn }: { isOwn: boolean },
  ): Promise<FileReport> => {
    const scratch = paths.unfinished();
    try {
      const input = { source, scratch, target, tenant, migrations, isOwn };
      // One's own may be of any size, and was whole when it was made.
      return await worker.run('importFile', input, isOwn ? null : parts.importTimeoutMs);
    } catch (error) {
      const reason = reasonToRefuse(error);
      if (reason === null) throw error;
      throw new Fault('invalid_database', `The file cannot be imported. ${reason}`, { cause: error });
    } finally {
      await removeDatabase(scratch);
    }
  };

  const tracked = async <T>(work: Promise<T>): Promise<T> => {
    underWay.add(work);
    try {
      return await work;
    } finally {
      underWay.delete(work);
    }
  };

  const build: NewFiles['build'] = async (target, make) => {
    // A rename would put the new file in the place of the old one without a word.
    if (!isFree(target)) throw new Error(`${target}, or a -wal or a journal of it, exists already.`);
    const unfinished = paths.unfinished();
    try {
      const made = await make(unfinished);
      await publish(unfinished, target);
      return made;
    } catch (error) {
      await removeDatabase(unfinished);
      throw error;
    }
  };

  return {
    build: (target, make) => tracked(build(target, make)),
    readForeign: (worker, source, tenant, target, how) => tracked(read(worker, source, tenant, target, how)),
    async settled() {
      await Promise.allSettled(underWay);
    },
  };
}
