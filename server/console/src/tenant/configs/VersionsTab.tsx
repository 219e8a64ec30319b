import { Button, Group, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { TimeText } from '../../shared/TimeText.tsx';
import { useAction } from '../../shared/useAction.ts';
import { useCursorPages } from '../../shared/useCursorPages.ts';
import { useMay } from '../scopes.ts';
import { DiffView } from './DiffView.tsx';

type Config = Schema<'Config'>;

/** A version as text: what a person would compare. */
const textOf = ({ name, system_prompt, model_config, tools_config, metadata }: Config): string =>
  [
    `name: ${name}`,
    `model_config: ${JSON.stringify(model_config, null, 2)}`,
    `tools_config: ${JSON.stringify(tools_config, null, 2)}`,
    `metadata: ${JSON.stringify(metadata)}`,
    'system_prompt:',
    system_prompt,
  ].join('\n');

/** What the config was: each version beside the latest one, and the way back to it. */
export function VersionsTab({ config }: { config: Config }) {
  const { client } = useApi();
  const mayManage = useMay('manage');
  const [compared, setCompared] = useState<Config | null>(null);
  const [chosen, setChosen] = useState<Config | null>(null);
  const path = { id: config.id };
  const pages = useCursorPages<Config>(['configs', 'versions', config.id], (cursor, signal) =>
    dataOf(client.GET('/api/v1/configs/{id}/versions', { params: { path, query: cursor }, signal })),
  );
  const rollBack = useAction({
    run: (version: number) =>
      dataOf(client.POST('/api/v1/configs/{id}/rollback', { params: { path }, body: { version } })),
    invalidates: [['configs']],
    done: 'The old content is the newest version now.',
    onDone: () => setChosen(null),
  });
  return (
    <Stack>
      <PagedTable
        label="Versions"
        pages={pages}
        rowKey={({ version }) => String(version)}
        minWidth={600}
        empty={<EmptyState title="No versions" />}
        columns={[
          { header: 'Version', cell: ({ version }) => version },
          { header: 'Saved', cell: ({ updated_at }) => <TimeText at={updated_at} /> },
          { header: 'Model', cell: ({ model_config }) => `${model_config.provider} ${model_config.model}` },
          {
            header: 'Actions',
            cell: (row) =>
              row.version === config.version ? (
                <Text c="dimmed" size="sm">
                  the latest
                </Text>
              ) : (
                <Group gap="xs" wrap="nowrap">
                  <Button
                    size="compact-sm"
                    variant="default"
                    aria-label={`Compare version ${row.version}`}
                    onClick={() => setCompared(row)}
                  >
                    Compare
                  </Button>
                  {mayManage && (
                    <Button
                      size="compact-sm"
                      variant="default"
                      aria-label={`Roll back to version ${row.version}`}
                      onClick={() => setChosen(row)}
                    >
                      Roll back
                    </Button>
                  )}
                </Group>
              ),
          },
        ]}
      />
      {compared && (
        <section aria-live="polite">
          <Text fw={600} mb="xs">
            From version {compared.version} to {config.version}
          </Text>
          <DiffView label="Differences" before={textOf(compared)} after={textOf(config)} />
        </section>
      )}
      <ConfirmDialog
        opened={chosen !== null}
        title={`Roll back to version ${chosen?.version ?? ''}`}
        confirm="Roll back"
        busy={rollBack.isPending}
        error={rollBack.error}
        onConfirm={() => chosen && rollBack.mutate(chosen.version)}
        onClose={() => setChosen(null)}
      >
        {chosen && (
          <>
            <Text mb="sm">This is saved as the next version; no version is lost.</Text>
            <DiffView label="What changes" before={textOf(config)} after={textOf(chosen)} />
          </>
        )}
      </ConfirmDialog>
    </Stack>
  );
}
