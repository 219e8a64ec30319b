import { z } from 'zod';
import type { JsonObject } from '../../tenant-schema/store.ts';
import { FINDING_KINDS, type Finding } from '../operations/finding.ts';
import type { FleetStatus, Quarantined } from '../operations/fleet.ts';
import { id } from './common.ts';
import { adminEndpoint, type Endpoint, EventStream, type SendEvent, type Services } from './endpoint.ts';

const count = z.number().int().nonnegative();
export const quarantined = z.strictObject({ tenant_id: id, reason: z.string() });
const progress = z.strictObject({ done: count, total: count });

/** How many files are at which schema version, newest first; null: it cannot be read. */
const versions = z.array(z.strictObject({ schema_version: count.nullable(), files: count }));

const fleetStatus = z.strictObject({
  /** The schema version that every file is brought to. */
  latest_version: count,
  files: count,
  versions,
  quarantined: z.array(quarantined),
});

const migrateInput = z.strictObject({
  /** Tenants at a time; two files are worked on at once, and more tenants only keep those two busy. */
  parallel: z.number().int().min(1).max(64).optional(),
});
const migrated = z.strictObject({ migrated: count, current: count, failed: z.array(quarantined) });

const doctorInput = z.strictObject({
  /** Sets right what is safe: modes, names in files, what unfinished work left. */
  fix: z.boolean().optional(),
});
const finding = z.strictObject({
  kind: z.enum(FINDING_KINDS),
  tenant_id: id.nullable(),
  /** Under DATA_DIR. */
  path: z.string().nullable(),
  message: z.string(),
  fixable: z.boolean(),
  fixed: z.boolean(),
});
const diagnosis = z.strictObject({
  checked: count,
  size_bytes: count,
  versions,
  /** Provider keys that nobody can open without `master.key`; 0 where the master key is given in the environment. */
  sealed_with_file: count,
  findings: count,
  fixed: count,
});

const standalone = z.strictObject({
  /** Whether the file was whole without a `-wal`, so that a plain copy of it is whole too. */
  standalone: z.boolean(),
});

export const quarantinedJson = ({ tenantId, reason }: Quarantined) => ({ tenant_id: tenantId, reason });
const versionsJson = (versions: FleetStatus['versions']) =>
  versions.map(({ schemaVersion, files }) => ({ schema_version: schemaVersion, files }));
const findingJson = ({ tenantId, ...rest }: Finding) => ({ ...rest, tenant_id: tenantId });

const PARALLEL = 4;
/** What `doctor` has set right, as far as the audit names it. */
const FIXED_TOLD_MAX = 100;
/** More often than this, nobody can read it. */
const PROGRESS_MS = 100;

/** Sends how far the work is: the first, the last, and some between. */
export function throttled(send: SendEvent, clock: Services['clock']) {
  let sentAt = Number.NEGATIVE_INFINITY;
  return async (done: number, total: number, more: object = {}): Promise<void> => {
    if (done < total && clock.monotonic() - sentAt < PROGRESS_MS) return;
    sentAt = clock.monotonic();
    await send('progress', { done, total, ...more });
  };
}

export const fleetSchemas = { FleetStatus: fleetStatus, Quarantined: quarantined, Finding: finding };

export const fleetEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'getFleet',
      group: 'Fleet',
      method: 'GET',
      path: '/api/v1/admin/fleet',
      summary:
        "How many tenants' files are at which schema version, and which cannot be brought to the latest",
      response: fleetStatus,
    },
    async ({ services }) => {
      const status = await services.fleet.status();
      return {
        latest_version: status.latestVersion,
        files: status.files,
        versions: versionsJson(status.versions),
        quarantined: status.quarantined.map(quarantinedJson),
      };
    },
  ),
  adminEndpoint(
    {
      name: 'migrateFleet',
      group: 'Fleet',
      method: 'POST',
      path: '/api/v1/admin/fleet/migrate',
      summary: "Bring every tenant's file to the latest schema, each by itself; answers a stream of events",
      body: migrateInput,
      bodyOptional: true,
      response: migrated,
      events: { progress, failed: quarantined, ping: z.strictObject({}), done: migrated },
      faults: ['concurrency_limited'],
    },
    ({ body, actor, clientGone, services: { control, fleet, clock } }) => {
      // As a status of its own, which a stream that has begun cannot have any more.
      fleet.requireNoMigration();
      control.recordFileEvent({ action: 'fleet.migrate', tenantId: null }, actor);
      return new EventStream(async (send) => {
        const result = await fleet.migrate(body.parallel ?? PARALLEL, clientGone, {
          progress: throttled(send, clock),
          failed: async (tenant) => send('failed', quarantinedJson(tenant)),
        });
        await send('done', { ...result, failed: result.failed.map(quarantinedJson) });
      });
    },
  ),
  adminEndpoint(
    {
      name: 'runDoctor',
      group: 'Fleet',
      method: 'POST',
      path: '/api/v1/admin/doctor',
      summary: 'Check every file and what is known of it; answers a stream of events',
      body: doctorInput,
      bodyOptional: true,
      response: diagnosis,
      events: { progress, finding, ping: z.strictObject({}), done: diagnosis },
    },
    ({ body, actor, clientGone, services: { control, doctor, clock } }) => {
      const record = (changes: JsonObject): void => {
        if (body.fix) control.recordFileEvent({ action: 'doctor.fix', tenantId: null, changes }, actor);
      };
      record({ state: 'begun' });
      const fixed: string[] = [];
      return new EventStream(async (send) => {
        const { sizeBytes, versions, sealedWithFile, ...result } = await doctor.examine(
          body.fix ?? false,
          clientGone,
          {
            progress: throttled(send, clock),
            finding: async (found) => {
              if (found.fixed && fixed.length < FIXED_TOLD_MAX)
                fixed.push(`${found.kind} ${found.path ?? ''}`);
              await send('finding', findingJson(found));
            },
          },
        );
        record({ state: clientGone.aborted ? 'cut_off' : 'done', count: result.fixed, fixed });
        await send('done', {
          ...result,
          size_bytes: sizeBytes,
          versions: versionsJson(versions),
          sealed_with_file: sealedWithFile,
        });
      });
    },
  ),
  adminEndpoint(
    {
      name: 'quiesceTenant',
      group: 'Fleet',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/quiesce',
      summary:
        "Close the tenant's file now, so that a plain copy of it is whole; the next request opens it again",
      response: standalone,
    },
    async ({ params, actor, services: { control, engine } }) => {
      control.getTenant(params.id);
      control.recordFileEvent({ action: 'tenant.quiesce', tenantId: params.id }, actor);
      return { standalone: await engine.quiesce(params.id) };
    },
  ),
];
