import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import type { FileReport } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { isId } from '../../tenant-schema/ids.ts';
import { removeFile } from '../../tenant-schema/remove-file.ts';
import { filling, syncFolder, writeWhole } from './disk.ts';

export type BackupTrigger = 'manual' | 'schedule' | 'restore' | 'migration';

export interface Backup {
  id: string;
  createdAt: number;
  sizeBytes: number;
  /** Hexadecimal. */
  sha256: string;
  schemaVersion: number;
  trigger: BackupTrigger;
  /** Rows by table. */
  rows: Record<string, number>;
  /** What `TenantEngine.stat` said of the tenant's file just before; null where nobody asked. */
  sourceChangedAt: number | null;
  /** Of a copy of control.db, what `ControlCopy` says; null elsewhere, and where the copy was rewritten since. */
  contentSha256: string | null;
}

/** What is known of a backup before it is made. */
export type NewBackup = Pick<Backup, 'id' | 'createdAt' | 'trigger' | 'sourceChangedAt'> &
  Partial<Pick<Backup, 'contentSha256'>>;

/** For who reads a backup. */
export interface Hold {
  /** Aborted, with the reason, where no more of it may be read. */
  signal: AbortSignal;
  release(): void;
}

interface Reader {
  owner: string;
  id: string;
  abort: AbortController;
  over: Promise<void>;
}

/** The manifest beside a backup, as JSON. */
interface Manifest {
  backup_id: string;
  /** Null for a copy of control.db. */
  tenant: { id: string; name: string } | null;
  /** RFC 3339. */
  created_at: string;
  schema_version: number;
  row_counts: Record<string, number>;
  size_bytes: number;
  sha256: string;
  trigger: BackupTrigger;
  source_changed_at: number | null;
  content_sha256?: string;
}

/**
 * Backups as `<folder>/<tenant id>/<backup id>.db` with a manifest `<backup id>.json` beside each. The manifest is
 * written last and removed first: only a backup that has one exists. In the place of a tenant's id, `control` owns the
 * copies of control.db.
 */
export function createBackupFolder(folder: string) {
  const folderOf = (owner: string): string => join(folder, owner);
  const databaseOf = (owner: string, id: string): string => join(folderOf(owner), `${id}.db`);
  const manifestOf = (owner: string, id: string): string => join(folderOf(owner), `${id}.json`);

  const idsOf = async (owner: string): Promise<string[]> => {
    const names = await readdir(folderOf(owner)).catch(emptyWhereMissing);
    const found = names.filter((name) => name.endsWith('.json')).map((name) => basename(name, '.json'));
    return found.filter(isId).sort().reverse();
  };

  const read = async (owner: string, id: string): Promise<Backup | null> => {
    try {
      return toBackup(await readFile(manifestOf(owner, id), 'utf8'));
    } catch (error) {
      // Between the list of names and this look, retention may have removed it.
      if (isMissing(error)) return null;
      throw error;
    }
  };
  const readAll = async (owner: string, wanted: readonly string[]): Promise<Backup[]> =>
    (await Promise.all(wanted.map((id) => read(owner, id)))).filter((backup) => backup !== null);

  const latest = async (owner: string): Promise<Backup | null> => {
    const [newest] = await idsOf(owner);
    return newest === undefined ? null : read(owner, newest);
  };

  /** Backups that are made at this moment by somebody who is not in the owner's turn. */
  const underWay = new Set<string>();

  /** What a crash has left: a file that got no manifest, or half of one. */
  const removeLeftovers = async (owner: string): Promise<void> => {
    const whole = new Set(await idsOf(owner));
    for (const name of await readdir(folderOf(owner))) {
      const [id = ''] = name.split('.');
      if (underWay.has(id)) continue;
      const isOrphan = isId(id) && !whole.has(id) && name.startsWith(`${id}.db`);
      if (isOrphan || /\.tmp(-journal)?$/.test(name)) await rm(join(folderOf(owner), name), { force: true });
    }
  };

  /** False where the folder was there. */
  const makeFolder = async (owner: string): Promise<boolean> => {
    let made = false;
    // One by one: asked for both at once, Node says of a read-only disk that something is missing.
    for (const path of [folder, folderOf(owner)]) made = await makeOne(path);
    // The folder's own name must be on the disk too before what is in it counts as there.
    if (made) await syncFolder(folder);
    return made;
  };

  const prepare = (owner: string): Promise<void> =>
    filling(async () => {
      if (!(await makeFolder(owner))) await removeLeftovers(owner);
    });

  const outOfTurn = async <T>(owner: string, id: string, work: () => Promise<T>): Promise<T> => {
    underWay.add(id);
    try {
      await makeFolder(owner);
      return await work();
    } finally {
      underWay.delete(id);
    }
  };

  const publish = (
    owner: string,
    tenant: Manifest['tenant'],
    backup: NewBackup,
    report: FileReport,
  ): Promise<void> => {
    const manifest: Manifest = {
      backup_id: backup.id,
      tenant,
      created_at: toTimestamp(backup.createdAt),
      schema_version: report.schemaVersion,
      row_counts: report.rows,
      size_bytes: report.sizeBytes,
      sha256: report.sha256,
      trigger: backup.trigger,
      source_changed_at: backup.sourceChangedAt,
      ...(backup.contentSha256 != null && { content_sha256: backup.contentSha256 }),
    };
    return writeWhole(manifestOf(owner, backup.id), `${JSON.stringify(manifest, null, 2)}\n`);
  };

  const readers = new Set<Reader>();
  const hold = (owner: string, id: string): Hold => {
    const abort = new AbortController();
    let end = (): void => {};
    const reader: Reader = { owner, id, abort, over: new Promise((resolve) => (end = resolve)) };
    readers.add(reader);
    return {
      signal: abort.signal,
      release() {
        readers.delete(reader);
        end();
      },
    };
  };
  const removeAll = async (owner: string, reason: Error): Promise<void> => {
    const reading = [...readers].filter((reader) => reader.owner === owner);
    for (const { abort } of reading) abort.abort(reason);
    await Promise.all(reading.map(({ over }) => over));
    const path = folderOf(owner);
    const entries = await readdir(path, { withFileTypes: true }).catch(emptyWhereMissing);
    for (const entry of entries) if (entry.isFile()) await removeFile(join(path, entry.name));
    await rm(path, { recursive: true, force: true });
  };

  const remove = async (owner: string, id: string): Promise<void> => {
    await rm(manifestOf(owner, id), { force: true });
    await syncFolder(folderOf(owner));
    const path = databaseOf(owner, id);
    // Whoever reads a file that loses its name goes on; of one that is removed piece by piece nothing would be left.
    const isRead = [...readers].some((reader) => reader.owner === owner && reader.id === id);
    await (isRead ? rm(path, { force: true }) : removeFile(path));
  };

  return {
    folderOf,
    databaseOf,
    /** The ids of all backups, newest first. */
    idsOf,
    /** Null where there is no such backup, or its manifest is damaged: `doctor` names that, and the others count. */
    read,
    readAll,
    /** Of its file, as it is now; null where that is missing. */
    bytesOf: (owner: string, id: string) => sizeOf(databaseOf(owner, id)),
    latest,
    /** Makes the folder where it is missing, and removes what a crash has left in it. Only in the owner's turn. */
    prepare,
    /** As `prepare`, for `work` that makes this one backup while others may be made in the owner's turn. */
    outOfTurn,
    /** Makes a backup of a file that lies in its place, whole and on the disk. */
    publish,
    /** Lets somebody read a backup that is there at this moment to its end, also where `remove` removes it meanwhile. */
    hold,
    remove,
    /** Removes the folder of an owner with all that is in it, once those who read there are told why, and have let go. */
    removeAll,
  };
}

/** Null for what is no manifest. */
function toBackup(text: string): Backup | null {
  const manifest = parse(text);
  const createdAt = Date.parse(String(manifest?.created_at));
  const isWhole =
    isId(String(manifest?.backup_id)) &&
    Number.isFinite(createdAt) &&
    [manifest?.size_bytes, manifest?.schema_version].every(Number.isSafeInteger) &&
    /^[0-9a-f]{64}$/.test(String(manifest?.sha256));
  if (!manifest || !isWhole) return null;
  return {
    id: manifest.backup_id,
    createdAt,
    sizeBytes: manifest.size_bytes,
    sha256: manifest.sha256,
    schemaVersion: manifest.schema_version,
    trigger: manifest.trigger,
    rows: manifest.row_counts,
    sourceChangedAt: manifest.source_changed_at,
    contentSha256: manifest.content_sha256 ?? null,
  };
}

function parse(text: string): Manifest | null {
  try {
    return JSON.parse(text) as Manifest | null;
  } catch {
    return null;
  }
}

/** False where it was there. */
const makeOne = (path: string): Promise<boolean> =>
  mkdir(path, { mode: 0o700 }).then(
    () => true,
    (error: unknown) => {
      if (hasCode(error, 'EEXIST')) return false;
      throw error;
    },
  );

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;

const isMissing = (error: unknown): boolean => hasCode(error, 'ENOENT');

function emptyWhereMissing(error: unknown): never[] {
  if (isMissing(error)) return [];
  throw error;
}

/** Of a file, if it is there, whatever it is. */
const sizeOf = (path: string): Promise<number | null> =>
  stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    },
  );

/** Whether a file is there, whatever it is. */
export const exists = async (path: string): Promise<boolean> => (await sizeOf(path)) !== null;

export const damagedBackup = (): Fault =>
  new Fault('invalid_database', 'The backup is damaged: its content is not what its manifest says.');
