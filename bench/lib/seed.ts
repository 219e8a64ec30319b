import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openControlPlane } from '../../control-plane/control-plane.ts';
import { systemClock } from '../../tenant-schema/clock.ts';
import { createIds } from '../../tenant-schema/ids.ts';
import type { ChatTarget } from './load.ts';

const ACTOR = { id: 'bench', name: 'bench', requestId: null };
const TENANTS_PER_COMMIT = 1_000;

/**
 * Adds tenants to a data folder whose server has ended: copies of the file of a tenant that has one config, with their
 * own ids and keys. Ids are all of one length, so that the new one is written over the old one in a copy of the bytes.
 */
export function seedTenants(
  dataDir: string,
  template: ChatTarget & { tenantId: string },
  count: number,
): ChatTarget[] {
  const ids = createIds(systemClock);
  const pathOf = (id: string): string => join(dataDir, 'tenants', `${id}.db`);
  const bytes = readFileSync(pathOf(template.tenantId));
  const places = placesOf(bytes, template.tenantId);
  const control = openControlPlane({ path: join(dataDir, 'control.db'), clock: systemClock, ids });
  const targets: ChatTarget[] = [];
  try {
    while (targets.length < count) {
      const size = Math.min(TENANTS_PER_COMMIT, count - targets.length);
      const found = Array.from({ length: size }, () => {
        const id = ids();
        for (const place of places) bytes.write(id, place, 'latin1');
        writeFileSync(pathOf(id), bytes, { mode: 0o600 });
        return { id, name: 'Tenant', status: 'active' as const, createdAt: systemClock.now() };
      });
      for (const { issued } of control.adoptTenants(found, ACTOR)) {
        targets.push({ apiKey: issued?.secret ?? '', configId: template.configId });
      }
    }
  } finally {
    control.close();
  }
  // Or the system would write a gigabyte while the turns wait for the disk.
  execFileSync('sync', ['-f', dataDir]);
  return targets;
}

function placesOf(bytes: Buffer, text: string): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) places.push(at);
  return places;
}
