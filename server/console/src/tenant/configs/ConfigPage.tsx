import { Button, Skeleton, Tabs, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ConfirmDialog } from '../../shared/ConfirmDialog.tsx';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { ButtonLink } from '../../shared/links.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { given, oneOf } from '../../shared/search.ts';
import { useAction } from '../../shared/useAction.ts';
import { CONFIG_TABS } from '../filters.ts';
import { NoScope } from '../NoScope.tsx';
import { configQuery } from '../queries.ts';
import { useMay } from '../scopes.ts';
import { ConfigEditor } from './ConfigEditor.tsx';
import { draftOf } from './draft.ts';
import { VersionsTab } from './VersionsTab.tsx';

type Config = Schema<'Config'>;

const route = getRouteApi('/tenant/configs/$configId');

/** One config: to change it, to try it, to look at what it was. */
export function ConfigPage() {
  const { configId } = route.useParams();
  const mayRead = useMay('read');
  const config = useQuery({ ...configQuery(useApi(), configId), enabled: mayRead });
  if (config.data) return <Page config={config.data} />;
  return (
    <>
      <PageHeader title="Config" />
      {!mayRead ? (
        <NoScope scope="read" />
      ) : config.error ? (
        <ErrorAlert error={config.error} onRetry={config.refetch} />
      ) : (
        <Skeleton height={320} />
      )}
    </>
  );
}

function Page({ config }: { config: Config }) {
  const { tab = 'edit' } = route.useSearch();
  const navigate = route.useNavigate();
  const mayManage = useMay('manage');
  const mayChat = useMay('chat');
  const open = (value: string | null) =>
    navigate({ search: given({ tab: oneOf(CONFIG_TABS, value) }), replace: true });
  return (
    <>
      <PageHeader
        title={config.name}
        description={`Version ${config.version}`}
        actions={
          <>
            {mayChat && (
              <ButtonLink to="/playground" search={{ config: config.id }}>
                Try it
              </ButtonLink>
            )}
            {mayManage && (
              <ButtonLink to="/configs/new" search={{ copy: config.id }} variant="default">
                Copy
              </ButtonLink>
            )}
            {mayManage && <DeleteButton config={config} />}
          </>
        }
      />
      <Tabs value={tab} onChange={open}>
        <Tabs.List mb="lg" aria-label="About the config">
          <Tabs.Tab value="edit">Edit</Tabs.Tab>
          <Tabs.Tab value="versions">Versions</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="edit">
          <EditTab config={config} />
        </Tabs.Panel>
        <Tabs.Panel value="versions">{tab === 'versions' && <VersionsTab config={config} />}</Tabs.Panel>
      </Tabs>
    </>
  );
}

function EditTab({ config }: { config: Config }) {
  const { client } = useApi();
  const { id } = config;
  const save = useAction({
    run: (body: Schema<'ConfigInput'>) =>
      dataOf(client.PATCH('/api/v1/configs/{id}', { params: { path: { id } }, body })),
    invalidates: [['configs']],
    done: 'Saved as the next version, which answers from the next turn on.',
  });
  // One version is one form: the same object as long as nothing else was saved.
  const initial = useMemo(() => draftOf(config), [config]);
  return (
    <ConfigEditor
      initial={initial}
      submit="Save"
      busy={save.isPending}
      error={save.error}
      isSaved={save.isSuccess}
      onSubmit={save.mutate}
    />
  );
}

function DeleteButton({ config: { id, name } }: { config: Config }) {
  const { client } = useApi();
  const navigate = route.useNavigate();
  const [isOpen, setOpen] = useState(false);
  const remove = useAction({
    run: () => dataOf(client.DELETE('/api/v1/configs/{id}', { params: { path: { id } } })),
    invalidates: [
      ['configs', 'all'],
      ['configs', 'pages'],
    ],
    done: `“${name}” is deleted.`,
    onDone: () => void navigate({ to: '/configs' }),
  });
  return (
    <>
      <Button variant="default" onClick={() => setOpen(true)}>
        Delete
      </Button>
      <ConfirmDialog
        opened={isOpen}
        title={`Delete ${name}`}
        confirm="Delete"
        danger
        busy={remove.isPending}
        error={remove.error}
        onConfirm={() => remove.mutate()}
        onClose={() => setOpen(false)}
      >
        <Text>Its programs get a 404 from now on. Its conversations and logs stay readable.</Text>
      </ConfirmDialog>
    </>
  );
}
