import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlPlane, FoundTenant } from '../../control-plane/types.ts';
import type { CheckReport, TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { idTime, isId } from '../../tenant-schema/ids.ts';
import { allTenants } from './doctor.ts';
import type { UsageLedger } from './usage-ledger.ts';

export interface RebuiltTenant {
  tenantId: string;
  name: string;
  status: 'active' | 'deleted';
  /** The text of its new key, which exists only here; null for a deleted tenant. */
  apiKey: string | null;
}

export interface Rebuild {
  tenants: RebuiltTenant[];
  /** Files out of which no tenant could be made; they stay where they are. */
  failed: { path: string; reason: string }[];
}

export interface RebuildOptions {
  control: ControlPlane;
  engine: TenantEngine;
  usage: Pick<UsageLedger, 'tryRebuild'>;
  dataDir: string;
}

const ACTOR = { id: 'system', name: 'system', requestId: null };

/**
 * Fills an empty control.db from what the tenants' files say of themselves: ids and names. Keys are made anew; limits,
 * settings, metadata and suspensions are lost, and an active tenant comes out of every file in `tenants/`. Every file is read
 * first, then all tenants are added in one transaction.
 * @throws `already_exists` when control.db knows a tenant
 */
export async function rebuildControl(
  { control, engine, usage, dataDir }: RebuildOptions,
  progress: (done: number, total: number) => void,
): Promise<Rebuild> {
  if (allTenants(control, undefined).length > 0 || allTenants(control, 'deleted').length > 0) {
    throw new Fault('already_exists', 'control.db is there and has tenants; nothing was changed.');
  }
  const trash = await databasesIn(join(dataDir, 'trash'));
  const live = (await engine.list()).sort();
  const files = [
    ...live.map((id) => ({ path: join('tenants', `${id}.db`), id, status: 'active' as const })),
    ...trash.map((path) => ({ path: join('trash', path), id: null, status: 'deleted' as const })),
  ];

  // All or nothing: a run that is cut off while it reads has changed nothing and can be begun again.
  const found: FoundTenant[] = [];
  const failed: Rebuild['failed'] = [];
  const seen = new Set<string>();
  for (const [index, { path, id, status }] of files.entries()) {
    progress(index, files.length);
    const report = await (id === null ? engine.checkFile(join(dataDir, path)) : engine.check(id));
    const reason = unusable(report, id, seen);
    if (reason !== null || report.tenant === null) {
      failed.push({ path, reason: reason ?? 'It names no tenant.' });
      continue;
    }
    const { id: tenantId, name } = report.tenant;
    seen.add(tenantId);
    found.push({ id: tenantId, name, status, createdAt: idTime(tenantId) });
  }
  const adopted = control.adoptTenants(found, ACTOR);
  for (const { id, status } of found) if (status === 'active') await usage.tryRebuild(id);
  progress(files.length, files.length);
  const tenants = found.map(({ id: tenantId, name, status }, index) => ({
    tenantId,
    name,
    status,
    apiKey: adopted[index]?.issued?.secret ?? null,
  }));
  return { tenants, failed };
}

function unusable({ tenant, problem }: CheckReport, id: string | null, seen: Set<string>): string | null {
  if (tenant === null) return problem ?? 'It names no tenant.';
  if (!isId(tenant.id)) return 'It names a tenant with an id that is none.';
  if (id !== null && tenant.id !== id) return `It belongs to tenant ${tenant.id}.`;
  if (seen.has(tenant.id)) return `Another file of tenant ${tenant.id} was found before.`;
  // A damaged file still says whose it is, and its tenant's backups can be restored once it has a row.
  return null;
}

const databasesIn = async (folder: string): Promise<string[]> => {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  return names.filter((name) => name.endsWith('.db')).sort();
};
