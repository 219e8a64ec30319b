import type { Dirent } from 'node:fs';
import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { isId } from '../../tenant-schema/ids.ts';
import type { Draft, Find, Suspect } from './finding.ts';

const OWN_FILES = [
  'control.db',
  'lock.db',
  'workers.db',
  'master.key',
  'master.key.next',
  'server.json',
  'quarantine.json',
];
const OWN_FOLDERS = ['tenants', 'backups', 'trash', 'tmp'];
/** What was deleted, and what a restore has replaced that could not be read, each with what lay beside it. */
const TRASHED = /\.(db|damaged)(-wal|-journal)?$/;
const DATABASE_PART = /\.db(-wal|-shm|-journal)?$/;
/** Folders with a leading dot, `tmp`, and names that say so hold what is not finished. */
const isUnfinished = (path: string): boolean =>
  path.endsWith('.tmp') ||
  path.split(sep).some((part, at) => part.startsWith('.') || (at === 0 && part === 'tmp'));

/** Whether there is something of this name, whatever it is. */
export const isPresent = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

export interface Found {
  /** Under the data folder. */
  path: string;
  entry: Dirent;
}

/** Names, modes and kinds of what lies in the folder. Nothing is opened: see the rule about live files. */
export async function lookAtFolder(
  dataDir: string,
  find: Find,
  suspect: Suspect,
  youngerMs: number,
): Promise<Found[]> {
  const found: Found[] = [];
  const walk = async (folder: string): Promise<void> => {
    const entries = await readdir(join(dataDir, folder), { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = join(folder, entry.name);
      const name = entry.name.replace(/\.db-(wal|shm|journal)$/, '.db');
      const isOurs = folder !== '' || OWN_FILES.includes(name) || OWN_FOLDERS.includes(name);
      if (!isOurs) continue;
      found.push({ path, entry });
      if (entry.isDirectory()) await walk(path);
    }
  };
  await walk('');

  const paths = new Set(found.map(({ path }) => path));
  const main = await lstat(dataDir);
  await checkMode(dataDir, '.', main.mode, 0o700, find);
  for (const { path, entry } of found) {
    const full = join(dataDir, path);
    if (entry.isSymbolicLink()) {
      await find({
        kind: 'symlink',
        path,
        message: 'a link, which is not followed; put the file itself there',
      });
      continue;
    }
    const facts = await lstat(full).catch(() => null);
    // Gone since the folder was read.
    if (facts === null) continue;
    await checkMode(full, path, facts.mode, entry.isDirectory() ? 0o700 : 0o600, find);
    if (entry.isDirectory()) continue;
    if (isUnfinished(path)) {
      if (facts.mtimeMs >= youngerMs) continue;
      const message = 'left by work that was never finished';
      await find({ kind: 'leftover', path, message, repair: () => rm(full, { force: true }) });
    } else {
      const isThere = async (other: string) => paths.has(other);
      if (await wrongCompany(path, isThere)) {
        suspect(ownerOf(path), () => wrongCompany(path, (other) => isPresent(join(dataDir, other))));
      }
    }
  }
  return found;
}

async function checkMode(
  full: string,
  path: string,
  mode: number,
  wanted: number,
  find: Find,
): Promise<void> {
  if ((mode & 0o777) === wanted) return;
  const message = `has the mode ${(mode & 0o777).toString(8)} instead of ${wanted.toString(8)}`;
  await find({ kind: 'permissions', path, message, repair: () => chmod(full, wanted) });
}

/** Whose turn it is when something is done with this file. */
function ownerOf(path: string): string {
  const [folder = '', owner = ''] = path.split(sep);
  return folder === 'backups' ? owner : (owner.split('.')[0] ?? '');
}

/** What must lie beside a file, by where it lies; null where it does, or where the file itself is gone. */
async function wrongCompany(
  path: string,
  isThere: (path: string) => Promise<boolean>,
): Promise<Draft | null> {
  const [folder] = path.split(sep);
  if (folder === undefined || !path.includes(sep) || !(await isThere(path))) return null;
  const database = path.replace(DATABASE_PART, '.db');
  const stem = basename(database, '.db');
  const foreign = { kind: 'unknown_file', path, message: 'not a file of this program' } as const;
  if (folder === 'tenants') {
    if (!DATABASE_PART.test(path) || !isId(stem)) return foreign;
    if (await isThere(database)) return null;
    const message = `belongs to ${relative('tenants', database)}, which is not there; keep it for a rescue`;
    return { ...foreign, tenantId: stem, message };
  }
  if (folder === 'trash') return TRASHED.test(path) ? null : foreign;
  if (path.endsWith('.db') && !(await isThere(path.replace(/\.db$/, '.json')))) {
    const message = 'has no manifest beside it and is not listed; move it elsewhere';
    return { kind: 'without_manifest', path, message };
  }
  if (path.endsWith('.json') && !(await isThere(path.replace(/\.json$/, '.db')))) {
    return { kind: 'without_file', path, message: 'describes a file that is not there; remove it' };
  }
  return null;
}
