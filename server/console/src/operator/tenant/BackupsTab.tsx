import { Button, Group, Progress, Stack, Text, Tooltip } from '@mantine/core';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi, useMayOperate } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatBytes, formatTime } from '../../shared/format.ts';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { TimeText } from '../../shared/TimeText.tsx';
import { useAction } from '../../shared/useAction.ts';
import { useCursorPages } from '../../shared/useCursorPages.ts';

type Backup = Schema<'Backup'>;

const PATH = '/api/v1/admin/tenants/{id}/backups';
const MADE_BY: Record<Backup['trigger'], string> = {
  manual: 'by hand',
  schedule: 'on schedule',
  restore: 'before a restore',
  migration: 'before a migration',
};

/** The copies of a tenant's data: made, downloaded, put back. */
export function BackupsTab({ tenant: { id, name } }: { tenant: Schema<'Tenant'> }) {
  const { client } = useApi();
  const mayOperate = useMayOperate();
  const queryKey = ['tenant', id, 'backups'];
  const [chosen, setChosen] = useState<Backup | null>(null);
  const pages = useCursorPages<Backup>(queryKey, (query, signal) =>
    dataOf(client.GET(PATH, { params: { path: { id }, query }, signal })),
  );
  const backUp = useAction({
    run: () => dataOf(client.POST(PATH, { params: { path: { id } } })),
    invalidates: [queryKey, ['stats']],
    done: 'The backup is whole and checked.',
  });
  const restore = useAction({
    run: (backup_id: string) =>
      dataOf(
        client.POST('/api/v1/admin/tenants/{id}/restore', { params: { path: { id } }, body: { backup_id } }),
      ),
    invalidates: [['tenant', id], ['usage']],
    done: 'The backup is in its place. What was there before is kept as a backup too.',
    onDone: () => setChosen(null),
  });
  const add = mayOperate && (
    <Button loading={backUp.isPending} onClick={() => backUp.mutate()}>
      Back up now
    </Button>
  );
  return (
    <Stack>
      <Group justify="space-between">
        <Text c="dimmed" size="sm">
          Each is a whole SQLite file, made while the tenant works.
        </Text>
        {add}
      </Group>
      {backUp.isPending && <Working label="Copying the file and checking the copy…" />}
      <ErrorAlert error={backUp.error} />
      <div>
        <PagedTable
          label="Backups"
          pages={pages}
          rowKey={(backup) => backup.id}
          empty={
            <EmptyState title="No backups yet">
              Make one now, or let the server make them with the setting BACKUP_EVERY.
            </EmptyState>
          }
          columns={[
            { header: 'Made', cell: ({ created_at }) => <TimeText at={created_at} /> },
            { header: 'Why', cell: ({ trigger }) => MADE_BY[trigger] },
            { header: 'Size', numeric: true, cell: ({ size_bytes }) => formatBytes(size_bytes) },
            { header: 'Schema', numeric: true, cell: ({ schema_version }) => schema_version },
            {
              header: 'SHA-256',
              cell: ({ sha256 }) => (
                <Tooltip label={sha256}>
                  <code>{sha256.slice(0, 8)}</code>
                </Tooltip>
              ),
            },
            {
              header: 'Actions',
              cell: (backup) =>
                mayOperate && (
                  <Group gap="xs" wrap="nowrap">
                    <Button
                      component="a"
                      href={`/api/v1/admin/tenants/${id}/backups/${backup.id}`}
                      download
                      size="compact-sm"
                      variant="default"
                    >
                      Download
                    </Button>
                    <Button size="compact-sm" variant="default" onClick={() => setChosen(backup)}>
                      Restore
                    </Button>
                  </Group>
                ),
            },
          ]}
        />
      </div>
      <ConfirmDialog
        opened={chosen !== null}
        title={`Restore ${name}`}
        confirm="Restore"
        danger
        busy={restore.isPending}
        error={restore.error}
        onConfirm={() => chosen && restore.mutate(chosen.id)}
        onClose={() => setChosen(null)}
      >
        <Text>
          The tenant's data becomes what it was {chosen && formatTime(chosen.created_at)}. Turns that run now
          are aborted. A backup of what is there now is made first, so that this can be undone.
        </Text>
        {restore.isPending && (
          <Working label="Keeping what is there, checking the backup, putting it in place…" />
        )}
      </ConfirmDialog>
    </Stack>
  );
}

/** Work of which the server tells only when it is done. */
function Working({ label }: { label: string }) {
  return (
    <div role="status">
      <Progress value={100} animated mt="xs" aria-label={label} />
      <Text size="sm" mt={4}>
        {label}
      </Text>
    </div>
  );
}
