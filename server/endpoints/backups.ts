import { z } from 'zod';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import type { Backup } from '../operations/backup-folder.ts';
import { id, listOf, pageOf, pageQuery, timestamp, toList } from './common.ts';
import { adminEndpoint, type Endpoint, FileReply } from './endpoint.ts';
import { tenant, tenantJson } from './tenants.ts';

const backup = z.strictObject({
  id,
  created_at: timestamp,
  size_bytes: z.number().int().positive(),
  sha256: z.string(),
  schema_version: z.number().int().positive(),
  trigger: z.enum(['manual', 'schedule', 'restore', 'migration']),
});
/** A copy of control.db, which lies with its manifest under DATA_DIR. */
const controlBackup = backup.extend({ path: z.string() });
const restoreInput = z.strictObject({ backup_id: z.string().min(1).max(200) });
const restored = z.strictObject({
  tenant,
  restored_backup_id: id,
  /** Holds what was there before. Null where nothing was there that could be read. */
  kept_backup_id: id.nullable(),
});

const backupJson = (row: Backup): z.input<typeof backup> => ({
  id: row.id,
  created_at: toTimestamp(row.createdAt),
  size_bytes: row.sizeBytes,
  sha256: row.sha256,
  schema_version: row.schemaVersion,
  trigger: row.trigger,
});

const controlBackupJson = (row: Backup): z.input<typeof controlBackup> => ({
  ...backupJson(row),
  path: `backups/control/${row.id}.db`,
});

export const backupSchemas = {
  Backup: backup,
  ControlBackup: controlBackup,
  RestoreInput: restoreInput,
  Restored: restored,
};

/** `acme-2026-01-31T12-00-00Z.db` */
export const databaseName = (tenantName: string, at: number): string =>
  `${tenantName.toLowerCase().slice(0, 60)}-${toTimestamp(at).slice(0, 19).replaceAll(':', '-')}Z.db`;

export const backupEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'createControlBackup',
      group: 'Backups',
      method: 'POST',
      path: '/api/v1/admin/backups/control',
      summary:
        'Back up control.db: tenants, limits, hashed keys, the audit; answered when the copy is checked',
      status: 201,
      response: controlBackup,
      faults: ['storage_quota_exceeded'],
    },
    async ({ actor, services: { operations } }) =>
      controlBackupJson(await operations.backups.createOfControl(actor)),
  ),
  adminEndpoint(
    {
      name: 'listControlBackups',
      group: 'Backups',
      method: 'GET',
      path: '/api/v1/admin/backups/control',
      summary: 'List the copies of control.db',
      query: z.strictObject(pageQuery()),
      response: listOf(controlBackup),
    },
    async ({ query, services: { operations } }) =>
      toList(await operations.backups.listOfControl(pageOf(query)), controlBackupJson),
  ),
  adminEndpoint(
    {
      name: 'createBackup',
      group: 'Backups',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/backups',
      summary: "Back up a tenant's data; answered when the copy is whole and checked",
      status: 201,
      response: backup,
      faults: ['storage_quota_exceeded', 'tenant_unavailable'],
    },
    async ({ params, actor, services: { operations } }) =>
      backupJson(await operations.backups.create(params.id, 'manual', actor)),
  ),
  adminEndpoint(
    {
      name: 'listBackups',
      group: 'Backups',
      method: 'GET',
      path: '/api/v1/admin/tenants/:id/backups',
      summary: "List a tenant's backups",
      query: z.strictObject(pageQuery()),
      response: listOf(backup),
    },
    async ({ params, query, services: { operations } }) =>
      toList(await operations.backups.list(params.id, pageOf(query)), backupJson),
  ),
  adminEndpoint(
    {
      name: 'getBackup',
      group: 'Backups',
      method: 'GET',
      path: '/api/v1/admin/tenants/:id/backups/:backup_id',
      // A tenant's data: more than who looks after the server's doings needs to see.
      role: 'operator',
      summary: 'Download a backup; one that was cut off can go on where it ended',
      givesFile: 'resumable',
      faults: ['invalid_database', 'tenant_unavailable'],
    },
    async ({ params, actor, services: { control, operations } }) => {
      const { name } = control.getTenant(params.id);
      const { path, sha256, createdAt, signal, release } = await operations.backups.open(
        params.id,
        params.backup_id,
      );
      try {
        const event = { action: 'backup.download', tenantId: params.id, targetId: params.backup_id } as const;
        control.recordFileEvent(event, actor);
      } catch (error) {
        release();
        throw error;
      }
      return new FileReply({
        path,
        sha256,
        fileName: databaseName(name, createdAt),
        resumable: true,
        signal,
        release: async () => release(),
      });
    },
  ),
  adminEndpoint(
    {
      name: 'restoreTenant',
      group: 'Backups',
      method: 'POST',
      path: '/api/v1/admin/tenants/:id/restore',
      summary:
        "Put a backup in the place of the tenant's data, of which a backup is kept; running turns are aborted",
      body: restoreInput,
      response: restored,
      faults: ['invalid_database', 'storage_quota_exceeded', 'tenant_unavailable'],
    },
    async ({ params, body, actor, services: { operations } }) => {
      const done = await operations.tenants.restore(params.id, body.backup_id, actor);
      return {
        tenant: tenantJson(done.tenant),
        restored_backup_id: body.backup_id,
        kept_backup_id: done.keptBackupId,
      };
    },
  ),
];
