import { readFile } from 'node:fs/promises';
import { writeWhole } from './disk.ts';

/** Which migrations failed and why, kept for the next `status`, which may be another process. By the tenants' ids. */
export interface Quarantine {
  read(): Promise<Map<string, string>>;
  /** Resolves when the list as it is now, or as it has become since, is in the file, if it can be written. One run at a time. */
  write(list: ReadonlyMap<string, string>): Promise<void>;
  /** Takes purged tenants off the list for good, whatever a run that is under way still has to say of them. */
  forget(tenantIds: readonly string[]): Promise<void>;
}

export function createQuarantine(path: string): Quarantine {
  const gone = new Set<string>();
  let writing: Promise<unknown> = Promise.resolve();
  let next: Promise<void> | null = null;

  const read: Quarantine['read'] = async () => {
    try {
      return new Map(Object.entries(JSON.parse(await readFile(path, 'utf8')) as Record<string, string>));
    } catch {
      // It only explains; without it the versions still tell which files are behind.
      return new Map();
    }
  };
  const writeNow = async (list: ReadonlyMap<string, string>): Promise<void> => {
    const kept = [...list].filter(([tenantId]) => !gone.has(tenantId));
    await writeWhole(path, JSON.stringify(Object.fromEntries(kept)));
  };

  return {
    read,

    write(list) {
      // Who comes while one write is under way shares the next: many failures at once cost few writes.
      next ??= writing.then(async () => {
        next = null;
        // On a disk that is full, say: whoever migrates is told of each failure all the same.
        await writeNow(list).catch(() => undefined);
      });
      writing = next.catch(() => undefined);
      return next;
    },

    async forget(tenantIds) {
      for (const tenantId of tenantIds) gone.add(tenantId);
      const work = writing.then(async () => {
        const list = await read();
        if (tenantIds.some((tenantId) => list.has(tenantId))) await writeNow(list);
      });
      writing = work.catch(() => undefined);
      await work;
    },
  };
}
