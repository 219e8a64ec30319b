import { basename, join, sep } from 'node:path';
import type { ControlPlane, Tenant, TenantStatus } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { CheckReport, TenantEngine } from '../../tenant-schema/engine.ts';
import { isId } from '../../tenant-schema/ids.ts';
import { createBackupFolder } from './backup-folder.ts';
import { forEachBounded } from './bounded.ts';
import { type Found, isPresent, lookAtFolder } from './doctor-folder.ts';
import type { Draft, Find, Finding, Suspect, Suspicion } from './finding.ts';
import { reasonOf } from './fleet.ts';
import type { InTurn } from './in-turn.ts';
import { MASTER_KEY_FILE, type MasterKeys } from './master-key.ts';

export interface DoctorReport {
  progress(done: number, total: number): Promise<void>;
  finding(finding: Finding): Promise<void>;
}

export interface Diagnosis {
  /** Tenants' files that were opened and checked. */
  checked: number;
  sizeBytes: number;
  /** How many of them are at which schema version, newest first; null: it cannot be read. */
  versions: { schemaVersion: number | null; files: number }[];
  /** Provider keys that nobody can open without `master.key`, of which there should be a copy; 0 where it is lost. */
  sealedWithFile: number;
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
  masterKeys: Pick<MasterKeys, 'isInFile' | 'isFileMissing'>;
  /** What is under way with a tenant's files ends before this begins. */
  inTurn: InTurn;
  dataDir: string;
}

/** Unfinished files younger than this may belong to work that is under way. */
const LEFTOVER_MS = 24 * 60 * 60 * 1000;
const PARALLEL = 4;
const PAGE = 1000;
export function createDoctor(options: DoctorOptions): Doctor {
  const { control, engine, clock, inTurn, dataDir } = options;
  return {
    async examine(fix, signal, report) {
      const result: Diagnosis = {
        checked: 0,
        sizeBytes: 0,
        versions: [],
        sealedWithFile: 0,
        findings: 0,
        fixed: 0,
      };
      const filesAt = new Map<number | null, number>();
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

      const suspicions: Suspicion[] = [];
      const suspect = (owner: string, confirm: Suspicion['confirm']) => suspicions.push({ owner, confirm });
      const files = await lookAtFolder(dataDir, find, suspect, clock.now() - LEFTOVER_MS);
      const problem = await control.check();
      if (problem !== null) await find({ kind: 'control_damaged', path: 'control.db', message: problem });
      // In a damaged file no chain can be followed to its end.
      else await lookAtAudit(control, find);
      await lookAtKeys(control, find);
      result.sealedWithFile = await lookAtProviderKeys(options, find);

      const tenants = allTenants(control, undefined);
      const links = new Set(files.filter(({ entry }) => entry.isSymbolicLink()).map(({ path }) => path));
      const ids = (await engine.list()).filter((id) => !links.has(join('tenants', `${id}.db`)));
      const present = new Set(ids);
      let done = 0;
      await report.progress(done, ids.length);
      await forEachBounded(ids.sort(), PARALLEL, signal, async (id) => {
        const looked = await lookAtTenant(id, { control, engine }, find, suspect);
        // Not in one line with the wait: others add to it meanwhile.
        result.sizeBytes += looked.sizeBytes;
        filesAt.set(looked.schemaVersion, (filesAt.get(looked.schemaVersion) ?? 0) + 1);
        result.checked += 1;
        done += 1;
        await report.progress(done, ids.length);
      });
      const isThere = (path: string) => isPresent(join(dataDir, path));
      for (const { id } of tenants) {
        const path = join('tenants', `${id}.db`);
        if (present.has(id) || links.has(path)) continue;
        suspect(id, async () => {
          if ((await isThere(path)) || !isLive(control, id)) return null;
          const message = 'the tenant has no file; restore one of its backups';
          return { kind: 'tenant_without_file', tenantId: id, path, message };
        });
      }
      lookAtTrash(files, control, isThere, suspect);
      await lookAtManifests(files, dataDir, suspect);
      // At the end, and when nothing else is done with the owner's files: a backup that is being made has no manifest
      // yet, and a file that is being moved is in two places or in none.
      for (const { owner, confirm } of suspicions) {
        if (signal.aborted) break;
        const draft = await inTurn(owner, confirm);
        if (draft) await find(draft);
      }
      result.versions = [...filesAt].map(([schemaVersion, count]) => ({ schemaVersion, files: count }));
      result.versions.sort((a, b) => (b.schemaVersion ?? -1) - (a.schemaVersion ?? -1));
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
export const isLive = (control: ControlPlane, id: string): boolean => nameOf(control, id) !== null;

/** The name that counts; null where there is no such tenant, or it is deleted. */
function nameOf(control: ControlPlane, id: string): string | null {
  try {
    return control.getTenant(id).name;
  } catch {
    return null;
  }
}

/** Whether the deleted tenant still has its row. */
function isDeleted(control: ControlPlane, id: string): boolean {
  try {
    return control.getDeletedTenant(id).status === 'deleted';
  } catch {
    return false;
  }
}

async function lookAtAudit(control: ControlPlane, find: Find): Promise<void> {
  const { broken } = await control.verifyAudit();
  if (broken === null) return;
  const where = broken.id === null ? 'at its end' : `at the row ${broken.id}`;
  const message = `the audit is not what was written, first ${where}: ${broken.reason}`;
  await find({ kind: 'audit_broken', path: 'control.db', message });
}

async function lookAtKeys(control: ControlPlane, find: Find): Promise<void> {
  for (const tenantId of control.listKeyless()) {
    const message = 'no key of the tenant is in force; make one with "nimblesite key create"';
    await find({ kind: 'no_usable_key', tenantId, message });
  }
}

/** What tenants have sealed here, against what opens it. @returns how many keys are sealed with a file that is there */
async function lookAtProviderKeys(
  { control, masterKeys }: Pick<DoctorOptions, 'control' | 'masterKeys'>,
  find: Find,
): Promise<number> {
  const { sealed, unopenable, tenantIds } = await control.checkProviderKeys();
  const isMissing = await masterKeys.isFileMissing();
  if (isMissing) {
    const message =
      sealed > 0
        ? `it is lost, and ${sealed} provider keys are sealed with it; put your copy back and start again`
        : 'it is lost or holds no key; nothing is sealed with it, so make a new one with "nimblesite master-key rotate"';
    await find({ kind: 'master_key_missing', path: MASTER_KEY_FILE, message });
  }
  const sealedWithFile = masterKeys.isInFile && !isMissing ? sealed : 0;
  if (unopenable === 0) return sealedWithFile;
  const [first] = tenantIds;
  const message =
    `${unopenable} provider keys cannot be opened with the master key; put the right one back, put them again, or ` +
    'give them up with "nimblesite master-key rotate --drop-unopenable"';
  const tenantId = tenantIds.length === 1 ? (first ?? null) : null;
  await find({ kind: 'provider_keys_unopenable', tenantId, path: 'control.db', message });
  return sealedWithFile;
}

/** One tenant's file. */
async function lookAtTenant(
  id: string,
  { control, engine }: Pick<DoctorOptions, 'control' | 'engine'>,
  find: Find,
  suspect: Suspect,
): Promise<Pick<CheckReport, 'sizeBytes' | 'schemaVersion'>> {
  const path = join('tenants', `${id}.db`);
  const about = { tenantId: id, path };
  // Between the list and this look the file may have gone to the trash.
  const checked = await engine.check(id).catch((error: unknown) => reasonOf(error));
  if (typeof checked === 'string') {
    if (isLive(control, id)) await find({ kind: 'damaged', ...about, message: checked });
    return { sizeBytes: 0, schemaVersion: null };
  }
  // Only now: it may have been given another one since all tenants were listed.
  const name = nameOf(control, id);
  if (checked.problem !== null) {
    await find({ kind: 'damaged', ...about, message: checked.problem });
  } else if (checked.tenant?.id !== id) {
    const owner = checked.tenant === null ? 'nobody' : `tenant ${checked.tenant.id}`;
    await find({ kind: 'wrong_owner', ...about, message: `the file belongs to ${owner}` });
  } else if (name !== null && checked.tenant.name !== name) {
    const repair = () => engine.use(id, (store) => store.setTenantName(nameOf(control, id) ?? name));
    const message = 'the file has another name than control.db, which would count if control.db were lost';
    await find({ kind: 'other_name', ...about, message, repair });
  }
  if (!isLive(control, id)) {
    suspect(id, async () => {
      // A tenant that is being made has its file before its row; one that was deleted meanwhile has none any more.
      if (isLive(control, id) || !(await engine.list()).includes(id)) return null;
      const message =
        'no tenant has this file; "nimblesite tenant import" of a copy makes a tenant of it; then move the file away';
      return { kind: 'file_without_tenant', ...about, message };
    });
  }
  return checked;
}

/** Backups that are not listed because nobody can read what they are. */
async function lookAtManifests(files: readonly Found[], dataDir: string, suspect: Suspect): Promise<void> {
  const backups = createBackupFolder(join(dataDir, 'backups'));
  for (const { path } of files) {
    const [folder, owner = '', name = ''] = path.split(sep);
    const id = basename(name, '.json');
    if (folder !== 'backups' || !name.endsWith('.json') || !isId(id)) continue;
    if (await backups.read(owner, id)) continue;
    suspect(owner, async () => {
      const database = join('backups', owner, `${id}.db`);
      // Gone by now, or named already for what it lacks.
      const isWhole = (await isPresent(join(dataDir, path))) && (await isPresent(join(dataDir, database)));
      if (!isWhole || (await backups.read(owner, id))) return null;
      const message =
        'its manifest is damaged, and it is not listed; "nimblesite tenant import" takes the file';
      return { kind: 'without_manifest', path: database, message };
    });
  }
}

/** Deleted tenants against the files in the trash. */
function lookAtTrash(
  files: readonly Found[],
  control: ControlPlane,
  isThere: (path: string) => Promise<boolean>,
  suspect: Suspect,
): void {
  const paths = new Set(files.map(({ path }) => path));
  const deleted = new Set(allTenants(control, 'deleted').map(({ id }) => id));
  for (const tenantId of deleted) {
    const path = join('trash', `${tenantId}.db`);
    if (paths.has(path)) continue;
    suspect(tenantId, async () => {
      // Its file may still be on the way there, or it was brought back or purged.
      const isSomewhere = (await isThere(path)) || (await isThere(join('tenants', `${tenantId}.db`)));
      if (isSomewhere || !isDeleted(control, tenantId)) return null;
      const message = 'the deleted tenant has no file; it cannot come back';
      return { kind: 'tenant_without_file', tenantId, path, message };
    });
  }
  for (const { path } of files) {
    const stem = basename(path, '.db');
    if (path !== join('trash', `${stem}.db`) || deleted.has(stem)) continue;
    suspect(stem, async () => {
      if (isDeleted(control, stem) || isLive(control, stem) || !(await isThere(path))) return null;
      const message = 'no deleted tenant has this file; "nimblesite tenant import" makes one of it';
      return { kind: 'file_without_tenant', path, message };
    });
  }
}
