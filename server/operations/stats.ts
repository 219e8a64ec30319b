import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlPlane, TenantStatus } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { EngineStats, TenantEngine } from '../../tenant-schema/engine.ts';
import type { Disk } from './disk.ts';

/** What files take on the disk, in bytes. */
export interface FolderSizes {
  control: number;
  tenants: number;
  backups: number;
  trash: number;
  /** When this was counted. */
  measuredAt: number;
}

export interface ServerStats {
  pool: EngineStats;
  tenants: Record<TenantStatus, number>;
  schemaVersion: number;
  sizes: FolderSizes;
  diskFreeBytes: number;
}

export interface Stats {
  /** Cheap: the sizes of thousands of files are counted again only once a minute. */
  read(): Promise<ServerStats>;
}

export interface StatsParts {
  control: ControlPlane;
  engine: Pick<TenantEngine, 'schemaVersion'>;
  /** The figures of all processes together. */
  pool(): Promise<EngineStats>;
  clock: Clock;
  disk: Disk;
  dataDir: string;
}

const REMEMBER_MS = 60_000;

export function createStats({ control, engine, pool, clock, disk, dataDir }: StatsParts): Stats {
  let known: { sizes: Promise<FolderSizes>; atMonotonicMs: number } | null = null;

  const measure = async (): Promise<FolderSizes> => {
    const measuredAt = clock.now();
    const [tenants = 0, backups = 0, trash = 0] = await Promise.all(
      ['tenants', 'backups', 'trash'].map((name) => sizeOfFolder(join(dataDir, name))),
    );
    const control = await sizeOfFiles(
      ['', '-wal', '-shm'].map((suffix) => join(dataDir, `control.db${suffix}`)),
    );
    return { control, tenants, backups, trash, measuredAt };
  };

  return {
    async read() {
      const now = clock.monotonic();
      if (known === null || now - known.atMonotonicMs > REMEMBER_MS) {
        const sizes = measure();
        known = { sizes, atMonotonicMs: now };
        // What could not be measured is not remembered.
        sizes.catch(() => {
          known = null;
        });
      }
      return {
        pool: await pool(),
        tenants: control.countTenants(),
        schemaVersion: engine.schemaVersion,
        sizes: await known.sizes,
        diskFreeBytes: await disk.freeBytes(),
      };
    },
  };
}

/** Files that are gone by the time they are looked at count nothing. Only names and sizes: no file is opened. */
const sizeOfFiles = async (paths: readonly string[]): Promise<number> => {
  let bytes = 0;
  for (const path of paths)
    bytes += await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
  return bytes;
};

async function sizeOfFolder(path: string): Promise<number> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return sizeOfFiles(
    entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)),
  );
}
