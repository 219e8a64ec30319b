import { Option } from 'commander';
import type { Api } from '../api.ts';
import type { Leaf } from '../cli.ts';
import { requireFree, save } from '../files.ts';
import { CliError, EXIT } from '../io.ts';
import { bytes, facts, table } from '../output.ts';
import { confirm, findTenant, listAll, orMissing, TENANTS } from '../session.ts';

interface BackupRow {
  id: string;
  created_at: string;
  size_bytes: number;
  sha256: string;
  schema_version: number;
  trigger: string;
}

const fileOptions = [
  new Option('-o, --output <file>', 'where to; default: <backup id>.db in this folder'),
  new Option('--force', 'replace a file that is there'),
];

/**
 * The id of the backup that is meant; `latest` is the newest, what a restore has put aside apart: restoring twice must
 * not bring back what the first time replaced. @throws `CliError` where there is none yet
 */
async function findBackup(api: Api, tenantId: string, wanted: string): Promise<string> {
  if (wanted !== 'latest') return wanted;
  for await (const { id, trigger } of listAll<BackupRow>(api, `${TENANTS}/${tenantId}/backups`)) {
    if (trigger !== 'restore') return id;
  }
  throw new CliError(
    EXIT.notFound,
    'The tenant has no backup yet, except what a restore may have put aside; "nimblesite tenant backup" makes one.',
  );
}

const noBackup = (tenantId: string, backupId: string): string =>
  `The tenant has no backup "${backupId}"; see "nimblesite tenant backups ${tenantId}".`;

/** Commands about copies of one tenant on the server. */
export function addBackupCommands(leaf: Leaf): void {
  leaf<{ download?: boolean; output?: string; force?: boolean }>({
    usage: 'backup <tenant>',
    summary: 'make a backup now; it is whole and checked when the command ends',
    options: [new Option('--download', 'and fetch it as a file'), ...fileOptions],
    examples: ['backup Acme', 'backup Acme --download -o acme-today.db'],
    async run({ io, api, args, options, print }) {
      const { id } = await findTenant(api, args[0] ?? '');
      const wanted = options.download === true || options.output !== undefined;
      if (wanted && options.output !== undefined) await requireFree(options.output, options.force ?? false);
      const made = await api.send<BackupRow>('POST', `${TENANTS}/${id}/backups`);
      const path = `${TENANTS}/${id}/backups/${made.id}`;
      const file = wanted
        ? await save(io, await api.download(path), options.output ?? `${made.id}.db`, options.force ?? false)
        : null;
      const text = facts([
        ['backup', made.id],
        ['tenant', id],
        ['size', bytes(made.size_bytes)],
        ['sha256', made.sha256],
        ...(file === null ? [] : [['file', file.path] as const]),
      ]);
      print({ ...made, tenant_id: id, ...(file && { path: file.path }) }, text);
    },
  });

  leaf<{ download?: string; output?: string; force?: boolean }>({
    usage: 'backups <tenant>',
    summary: 'list the backups of a tenant, newest first, or fetch one of them',
    options: [new Option('--download <backup-id>', 'fetch this one, or "latest", as a file'), ...fileOptions],
    examples: ['backups Acme', 'backups Acme --download latest -o acme.db'],
    async run({ io, api, args, options: { download, output, force = false }, print }) {
      const { id } = await findTenant(api, args[0] ?? '');
      if (download !== undefined) {
        const backupId = await findBackup(api, id, download);
        const target = output ?? `${backupId}.db`;
        await requireFree(target, force);
        const path = `${TENANTS}/${id}/backups/${encodeURIComponent(backupId)}`;
        const answer = await orMissing(api.download(path), noBackup(id, backupId));
        const file = await save(io, answer, target, force);
        print({ id: backupId, tenant_id: id, ...file }, `${file.path}  ${bytes(file.size_bytes)}\n`);
        return;
      }
      const rows: BackupRow[] = [];
      for await (const row of listAll<BackupRow>(api, `${TENANTS}/${id}/backups`)) rows.push(row);
      const text = table(
        io,
        [
          { title: 'ID', of: (row) => row.id, whole: true },
          { title: 'MADE', of: (row) => row.created_at, whole: true },
          { title: 'SIZE', of: (row) => bytes(row.size_bytes), right: true },
          { title: 'SCHEMA', of: (row) => row.schema_version, right: true },
          { title: 'TRIGGER', of: (row) => row.trigger },
        ],
        rows,
      );
      print({ data: rows }, text);
    },
  });

  leaf<{ yes?: boolean }>({
    usage: 'restore <tenant> <backup-id>',
    summary:
      'put a backup, or the "latest", in the place of a tenant\'s data, keeping a backup of what was there',
    options: [new Option('--yes', 'do not ask')],
    examples: ['restore Acme latest', 'restore Acme 01a2b3c4-0000-7000-8000-000000000000 --yes'],
    async run({ io, api, args, options: { yes = false }, print }) {
      const [wanted = '', given = ''] = args;
      const { id, name } = await findTenant(api, wanted);
      const backupId = await findBackup(api, id, given);
      await confirm(io, yes, name, `This replaces the data of tenant ${id} by the backup ${backupId}.`);
      const restored = api.send<{ kept_backup_id: string | null }>('POST', `${TENANTS}/${id}/restore`, {
        backup_id: backupId,
      });
      const answer = await orMissing(restored, noBackup(id, backupId));
      const kept =
        answer.kept_backup_id === null
          ? 'there was nothing to keep'
          : `what was there is its backup ${answer.kept_backup_id}`;
      print(answer, `${name} is back at the backup ${backupId}; ${kept}.\n`);
    },
  });
}
