import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { ButtonLink, TextLink } from '../../shared/links.tsx';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { TimeText } from '../../shared/TimeText.tsx';
import { useCursorPages } from '../../shared/useCursorPages.ts';
import { NoScope } from '../NoScope.tsx';
import { useMay } from '../scopes.ts';

const PAGE_ROWS = 25;

/** All configs of the tenant. */
export function ConfigsPage() {
  const mayManage = useMay('manage');
  const add = mayManage && <ButtonLink to="/configs/new">New config</ButtonLink>;
  return (
    <>
      <PageHeader
        title="Configs"
        description="A config is an agent: its prompt, its model, its tools."
        actions={add}
      />
      {useMay('read') ? <ConfigTable /> : <NoScope scope="read" />}
    </>
  );
}

function ConfigTable() {
  const { client } = useApi();
  const mayManage = useMay('manage');
  const pages = useCursorPages<Schema<'Config'>>(['configs', 'pages'], (cursor, signal) => {
    const query = { ...cursor, limit: PAGE_ROWS };
    return dataOf(client.GET('/api/v1/configs', { params: { query }, signal }));
  });
  return (
    <PagedTable
      label="Configs"
      pages={pages}
      rowKey={({ id }) => id}
      empty={
        <EmptyState
          title="No configs yet"
          action={mayManage && <ButtonLink to="/configs/new">Make the first</ButtonLink>}
        >
          A config says which model answers, with which prompt and tools. The demo provider needs no key.
        </EmptyState>
      }
      columns={[
        {
          header: 'Name',
          cell: ({ id, name }) => (
            <TextLink to="/configs/$configId" params={{ configId: id }} preload={false}>
              {name}
            </TextLink>
          ),
        },
        { header: 'Provider', cell: ({ model_config }) => String(model_config.provider) },
        { header: 'Model', cell: ({ model_config }) => String(model_config.model) },
        { header: 'Tools', numeric: true, cell: ({ tools_config }) => tools_config.length },
        { header: 'Version', numeric: true, cell: ({ version }) => version },
        { header: 'Changed', cell: ({ updated_at }) => <TimeText at={updated_at} ago /> },
        {
          header: 'Try it',
          cell: ({ id, name }) => (
            <ButtonLink
              to="/playground"
              search={{ config: id }}
              size="compact-sm"
              variant="default"
              preload={false}
              aria-label={`Playground of ${name}`}
            >
              Playground
            </ButtonLink>
          ),
        },
      ]}
    />
  );
}
