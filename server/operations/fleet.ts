import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { forEachBounded, inBatches } from './bounded.ts';
import type { Quarantine } from './quarantine.ts';

/** A tenant whose file this server cannot bring to its schema; the others are not concerned. */
export interface Quarantined {
  tenantId: string;
  reason: string;
}

export interface FleetStatus {
  /** What every file is brought to. */
  latestVersion: number;
  /** How many files there are. */
  files: number;
  /** How many files are at which version, newest first; null: it cannot be read. */
  versions: { schemaVersion: number | null; files: number }[];
  quarantined: Quarantined[];
}

export interface FleetMigration {
  migrated: number;
  /** Were at the latest version already. */
  current: number;
  failed: Quarantined[];
}

export interface MigrationReport {
  progress(done: number, total: number): Promise<void>;
  failed(tenant: Quarantined): Promise<void>;
}

/** What concerns every tenant's file at once. */
export interface Fleet {
  status(): Promise<FleetStatus>;
  /** @throws `concurrency_limited` where `migrate` would, for who has to know before it begins. */
  requireNoMigration(): void;
  /**
   * Brings every file to the latest schema, each in a transaction of its own. One that cannot be is listed and left as
   * it was. A run that was cut off is taken up by the next: a file that is there already costs a look. The list of
   * failures is on the disk before each is reported; those that a run does not come to stay on it.
   * @param parallel tenants at a time; the engine works on two files at once, and more only keep those busy
   * @param signal ends the run after the files under way
   * @throws `concurrency_limited` while another run is under way
   */
  migrate(parallel: number, signal: AbortSignal, report: MigrationReport): Promise<FleetMigration>;
}

export interface FleetOptions {
  engine: TenantEngine;
  quarantine: Quarantine;
  /** Brings one file to the latest schema, and keeps a copy of what it was where that is worth one. */
  migrateOne(tenantId: string): Promise<void>;
}

/** Files looked at in one go. */
const GLANCE_BATCH = 500;

/** What an operator is told of a failure: for a tenant that is "unavailable", why. */
export const reasonOf = (error: unknown): string => {
  const told = error instanceof Fault && error.cause instanceof Error ? error.cause : error;
  return told instanceof Error ? told.message : String(told);
};

export function createFleet({ engine, quarantine, migrateOne }: FleetOptions): Fleet {
  let migrating = false;

  async function* lookAtAll() {
    const ids = (await engine.list()).sort();
    for (const batch of inBatches(ids, GLANCE_BATCH)) {
      const glances = await engine.glance(batch);
      for (const [index, tenantId] of batch.entries()) {
        const glance = glances[index];
        if (glance) yield { tenantId, ...glance };
      }
    }
  }

  const requireNoMigration = (): void => {
    if (!migrating) return;
    throw new Fault('concurrency_limited', 'A migration of all tenants is under way; wait for its end.');
  };

  const migrateAll: Fleet['migrate'] = async (parallel, signal, report) => {
    const result: FleetMigration = { migrated: 0, current: 0, failed: [] };
    const known = await quarantine.read();
    const list = new Map<string, string>();
    const behind: string[] = [];
    for await (const { tenantId, schemaVersion, problem } of lookAtAll()) {
      if (problem !== null) {
        result.failed.push({ tenantId, reason: problem });
        list.set(tenantId, problem);
      } else if (schemaVersion === engine.schemaVersion) result.current += 1;
      else {
        behind.push(tenantId);
        // Until it is tried again, what is known of it counts.
        const reason = known.get(tenantId);
        if (reason !== undefined) list.set(tenantId, reason);
      }
    }
    await quarantine.write(list);
    for (const failure of result.failed) await report.failed(failure);
    const total = result.current + result.failed.length + behind.length;
    let done = total - behind.length;
    await report.progress(done, total);
    await forEachBounded(behind, parallel, signal, async (tenantId) => {
      const reason = await migrateOne(tenantId).then(() => null, reasonOf);
      if (reason === null) {
        result.migrated += 1;
        if (list.delete(tenantId)) await quarantine.write(list);
      } else {
        result.failed.push({ tenantId, reason });
        list.set(tenantId, reason);
        await quarantine.write(list);
        await report.failed({ tenantId, reason });
      }
      done += 1;
      await report.progress(done, total);
    });
    return result;
  };

  return {
    async status() {
      const known = await quarantine.read();
      const counts = new Map<number | null, number>();
      const quarantined: Quarantined[] = [];
      let files = 0;
      for await (const { tenantId, schemaVersion, problem } of lookAtAll()) {
        files += 1;
        counts.set(schemaVersion, (counts.get(schemaVersion) ?? 0) + 1);
        // A file that is at the latest version by now was repaired or restored since its migration failed.
        const failure = schemaVersion === engine.schemaVersion ? null : known.get(tenantId);
        const reason = problem ?? failure;
        if (reason) quarantined.push({ tenantId, reason });
      }
      const versions = [...counts].map(([schemaVersion, count]) => ({ schemaVersion, files: count }));
      versions.sort((a, b) => (b.schemaVersion ?? -1) - (a.schemaVersion ?? -1));
      return { latestVersion: engine.schemaVersion, files, versions, quarantined };
    },

    requireNoMigration,

    async migrate(parallel, signal, report) {
      requireNoMigration();
      migrating = true;
      try {
        return await migrateAll(parallel, signal, report);
      } finally {
        migrating = false;
      }
    },
  };
}
