import { Button } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import type { Schema } from '../../api/client.ts';
import { useStream } from './useStream.ts';
import { WorkPanel } from './WorkPanel.tsx';

/** Brings every file to the latest schema now. */
export function MigratePanel() {
  const queries = useQueryClient();
  const work = useStream<Schema<'MigrateFleetAnswer'>>('/api/v1/admin/fleet/migrate', () => {});
  const start = async (): Promise<void> => {
    await work.start({});
    await queries.invalidateQueries({ queryKey: ['fleet'] });
  };
  return (
    <WorkPanel
      title="Migrate all files"
      description="Each file by itself, with a backup before; one that fails is set apart and stops no other."
      work={work}
      actions={<Button onClick={start}>Migrate</Button>}
      summary={({ migrated, current, failed }) =>
        `${migrated} migrated, ${current} were at the latest version, ${failed.length} failed.`
      }
    />
  );
}
