import type { Dirent } from 'node:fs';
import { chmod, lstat, readdir, rm } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import type { ControlPlane, Tenant, TenantStatus } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { isId } from '../../tenant-schema/ids.ts';
import { forEachBounded } from './bounded.ts';
import { reasonOf } from './fleet.ts';

export const FINDING_KINDS = [
  'control_damaged',
  'damaged',
  'wrong_owner',
  'other_name',
  'file_without_tenant',
  'tenant_without_file',
  'no_usable_key',
  'permissions',
  'leftover',
  'symlink',
  'unknown_file',
  'without_manifest',
  'without_file',
] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

/** Something that is not as it should be. */
export interface Finding {
  kind: FindingKind;
  tenantId: string | null;
  /** Under the data folder; null where it is not about one file. */
  path: string | null;
  message: string;
  /** Whether `fix` sets it right without a risk to anything. */
  fixable: boolean;
  fixed: boolean;
}

export interface DoctorReport {
  progress(done: number, total: number): Promise<void>;
  finding(finding: Finding): Promise<void>;
}

export interface Diagnosis {
  /** Tenants' files that were opened and checked. */
  checked: number;
  sizeBytes: number;
  findings: number;
  fixed: number;
}

export interface Doctor {
  /**
   * Looks at everything in the data folder, off the event loop and without changing it.
   * @param fix sets right what is safe: modes of files and folders, names in files, what unfinished work left.
   */
  examine(fix: boolean, signal: AbortSignal, report: DoctorReport): Promise<Diagnosis>;
}

export interface DoctorOptions {
  control: ControlPlane;
  engine: TenantEngine;
  clock: Clock;
  dataDir: string;
}

/** Unfinished files younger than this may belong to work that is under way. */
const LEFTOVER_MS = 24 * 60 * 60 * 1000;
const PARALLEL = 4;
const PAGE = 1000;
const OWN_FILES = ['control.db', 'lock.db', 'master.key', 'server.json', 'quarantine.json'];
const OWN_FOLDERS = ['tenants', 'backups', 'trash', 'tmp'];
const DATABASE_PART = /\.db(-wal|-shm|-journal)?$/;
/** Folders with a leading dot, `tmp`, and names that say so hold what is not finished. */
const isUnfinished = (path: string): boolean =>
  path.endsWith('.tmp') ||
  path.split(sep).some((part, at) => part.startsWith('.') || (at === 0 && part === 'tmp'));

type Draft = Pick<Finding, 'kind' | 'message'> & Partial<Finding> & { repair?: () => Promise<unknown> };

export function createDoctor({ control, engine, clock, dataDir }: DoctorOptions): Doctor {
  return {
    async examine(fix, signal, report) {
      const result: Diagnosis = { checked: 0, sizeBytes: 0, findings: 0, fixed: 0 };
      const find = async ({ repair, ...draft }: Draft): Promise<void> => {
        let fixed = false;
        if (fix && repair) {
          await repair();
          fixed = true;
        }
        result.findings += 1;
        if (fixed) result.fixed += 1;
        const fixable = repair !== undefined;
        await report.finding({ tenantId: null, path: null, ...draft, fixable, fixed });
      };

      const files = await lookAtFolder(dataDir, find, clock.now() - LEFTOVER_MS);
      const problem = await control.check();
      if (problem !== null) await find({ kind: 'control_damaged', path: 'control.db', message: problem });
      await lookAtKeys(control, find);

      const tenants = new Map(allTenants(control, undefined).map((tenant) => [tenant.id, tenant]));
      const links = new Set(files.filter(({ entry }) => entry.isSymbolicLink()).map(({ path }) => path));
      const ids = (await engine.list()).filter((id) => !links.has(join('tenants', `${id}.db`)));
      const present = new Set(ids);
      let done = 0;
      await report.progress(done, ids.length);
      await forEachBounded(ids.sort(), PARALLEL, signal, async (id) => {
        const sizeBytes = await lookAtTenant(id, tenants.get(id)?.name, { control, engine }, find);
        // Not in one line with the wait: others add to it meanwhile.
        result.sizeBytes += sizeBytes;
        result.checked += 1;
        done += 1;
        await report.progress(done, ids.length);
      });
      for (const { id } of tenants.values()) {
        // Asked once more: it may have been deleted since the list was read.
        if (!present.has(id) && !links.has(join('tenants', `${id}.db`)) && isLive(control, id)) {
          const path = join('tenants', `${id}.db`);
          const message = 'the tenant has no file; restore one of its backups';
          await find({ kind: 'tenant_without_file', tenantId: id, path, message });
        }
      }
      await lookAtTrash(files, control, find);
      return result;
    },
  };
}

/** Every tenant with this status; undefined: every one that is not deleted. */
export function allTenants(control: ControlPlane, status: TenantStatus | undefined): Tenant[] {
  const all: Tenant[] = [];
  let cursor: string | null = null;
  do {
    const page: { data: Tenant[]; nextCursor: string | null } = control.listTenants(
      { status },
      { limit: PAGE, cursor },
    );
    all.push(...page.data);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return all;
}

/** Whether there is such a tenant, and it is not deleted. */
export function isLive(control: ControlPlane, id: string): boolean {
  try {
    control.getTenant(id);
    return true;
  } catch {
    return false;
  }
}

type Find = (draft: Draft) => Promise<void>;

async function lookAtKeys(control: ControlPlane, find: Find): Promise<void> {
  for (const tenantId of control.listKeyless()) {
    const message = 'no key of the tenant is in force; make one with "nimblesite key create"';
    await find({ kind: 'no_usable_key', tenantId, message });
  }
}

/** One tenant's file; gives its size. */
async function lookAtTenant(
  id: string,
  name: string | undefined,
  { control, engine }: Pick<DoctorOptions, 'control' | 'engine'>,
  find: Find,
): Promise<number> {
  const path = join('tenants', `${id}.db`);
  const about = { tenantId: id, path };
  // Between the list and this look the file may have gone to the trash.
  const checked = await engine.check(id).catch((error: unknown) => reasonOf(error));
  if (typeof checked === 'string') {
    if (isLive(control, id)) await find({ kind: 'damaged', ...about, message: checked });
    return 0;
  }
  if (checked.problem !== null) {
    await find({ kind: 'damaged', ...about, message: checked.problem });
  } else if (checked.tenant?.id !== id) {
    const owner = checked.tenant === null ? 'nobody' : `tenant ${checked.tenant.id}`;
    await find({ kind: 'wrong_owner', ...about, message: `the file belongs to ${owner}` });
  } else if (name !== undefined && checked.tenant.name !== name) {
    const repair = () => engine.use(id, (store) => store.setTenantName(name));
    const message = 'the file has another name than control.db, which would count if control.db were lost';
    await find({ kind: 'other_name', ...about, message, repair });
  }
  if (!isLive(control, id)) {
    const message =
      'no tenant has this file; "nimblesite tenant import" makes one of it, or move it elsewhere';
    await find({ kind: 'file_without_tenant', ...about, message });
  }
  return checked.sizeBytes;
}

/** Deleted tenants against the files in the trash. */
async function lookAtTrash(files: readonly Found[], control: ControlPlane, find: Find): Promise<void> {
  const paths = new Set(files.map(({ path }) => path));
  const deleted = new Set(allTenants(control, 'deleted').map(({ id }) => id));
  for (const tenantId of deleted) {
    const path = join('trash', `${tenantId}.db`);
    // Its file may still be on the way there.
    if (paths.has(path) || paths.has(join('tenants', `${tenantId}.db`))) continue;
    const message = 'the deleted tenant has no file; it cannot come back';
    await find({ kind: 'tenant_without_file', tenantId, path, message });
  }
  for (const { path } of files) {
    const stem = basename(path, '.db');
    if (path !== join('trash', `${stem}.db`) || deleted.has(stem) || isLive(control, stem)) continue;
    const message = 'no deleted tenant has this file; "nimblesite tenant import" makes one of it';
    await find({ kind: 'file_without_tenant', path, message });
  }
}

interface Found {
  /** Under the data folder. */
  path: string;
  entry: Dirent;
}

/** Names, modes and kinds of what lies in the folder. Nothing is opened: see the rule about live files. */
async function lookAtFolder(dataDir: string, find: Find, youngerMs: number): Promise<Found[]> {
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
      await checkCompany(path, paths, find);
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

/** What must lie beside a file, by where it lies. */
async function checkCompany(path: string, paths: ReadonlySet<string>, find: Find): Promise<void> {
  const [folder] = path.split(sep);
  if (folder === undefined || !path.includes(sep)) return;
  const database = path.replace(DATABASE_PART, '.db');
  const stem = basename(database, '.db');
  if (folder === 'tenants') {
    if (!DATABASE_PART.test(path) || !isId(stem)) {
      await find({ kind: 'unknown_file', path, message: 'not a file of this program' });
    } else if (!paths.has(database)) {
      const message = `belongs to ${relative('tenants', database)}, which is not there; keep it for a rescue`;
      await find({ kind: 'unknown_file', tenantId: stem, path, message });
    }
  } else if (folder === 'trash') {
    if (!path.endsWith('.db') && !path.endsWith('.damaged')) {
      await find({ kind: 'unknown_file', path, message: 'not a file of this program' });
    }
  } else if (path.endsWith('.db') && !paths.has(path.replace(/\.db$/, '.json'))) {
    await find({ kind: 'without_manifest', path, message: 'has no manifest beside it and is not listed' });
  } else if (path.endsWith('.json') && !paths.has(path.replace(/\.json$/, '.db'))) {
    await find({ kind: 'without_file', path, message: 'describes a file that is not there' });
  }
}
