import { Group } from '@mantine/core';
import { getRouteApi } from '@tanstack/react-router';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { FilterText } from '../../shared/FilterText.tsx';
import { formatCount } from '../../shared/format.ts';
import { ButtonLink, TextLink } from '../../shared/links.tsx';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatusBadge } from '../../shared/StatusBadge.tsx';
import { type Change, given } from '../../shared/search.ts';
import { TimeText } from '../../shared/TimeText.tsx';
import { useCursorPages } from '../../shared/useCursorPages.ts';
import { ConfigLink } from '../ConfigLink.tsx';
import { ConfigSelect } from '../ConfigSelect.tsx';
import { NoScope } from '../NoScope.tsx';
import { useMay } from '../scopes.ts';

const route = getRouteApi('/tenant/conversations');
const PAGE_ROWS = 25;

/** What was said with the tenant's agents. */
export function ConversationsPage() {
  return (
    <>
      <PageHeader title="Conversations" description="Newest first: to read, to continue, to delete." />
      {useMay('read') ? <Conversations /> : <NoScope scope="read" />}
    </>
  );
}

function Conversations() {
  const { client } = useApi();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const filter = given({ config_id: search.config, user: search.user, search: search.title });
  const pages = useCursorPages<Schema<'Conversation'>>(
    ['conversations', 'pages', filter],
    (cursor, signal) => {
      const query = { ...filter, ...cursor, limit: PAGE_ROWS };
      return dataOf(client.GET('/api/v1/conversations', { params: { query }, signal }));
    },
  );
  const set = (change: Change<typeof search>) =>
    navigate({ search: (before) => given({ ...before, ...change }), replace: true });
  return (
    <>
      <Group component="search" align="flex-end" mb="md" gap="sm">
        <ConfigSelect label="Config" all="all" value={search.config} onChange={(config) => set({ config })} />
        <FilterText
          label="User"
          placeholder="The exact name"
          value={search.user}
          onChange={(user) => set({ user })}
        />
        <FilterText
          label="Title"
          placeholder="A part of it"
          value={search.title}
          onChange={(title) => set({ title })}
        />
      </Group>
      <PagedTable
        label="Conversations"
        pages={pages}
        rowKey={({ id }) => id}
        minWidth={760}
        expected={10}
        empty={
          Object.keys(filter).length > 0 ? (
            <EmptyState title="No conversation fits">
              A user is named exactly, a title by any part of it; empty filters show all.
            </EmptyState>
          ) : (
            <EmptyState
              title="No conversations yet"
              action={<ButtonLink to="/playground">To the playground</ButtonLink>}
            >
              Say something in the playground, or let a program ask with one of your keys.
            </EmptyState>
          )
        }
        columns={[
          {
            header: 'Conversation',
            cell: ({ id, title }) => (
              <TextLink to="/conversations/$conversationId" params={{ conversationId: id }} preload={false}>
                {title || `…${id.slice(-12)}`}
              </TextLink>
            ),
          },
          { header: 'Config', cell: ({ config_id }) => <ConfigLink id={config_id} /> },
          { header: 'User', cell: ({ user }) => user ?? '–' },
          { header: 'Status', cell: ({ status }) => <StatusBadge status={status} /> },
          { header: 'Messages', numeric: true, cell: ({ message_count }) => formatCount(message_count) },
          { header: 'Begun', cell: ({ created_at }) => <TimeText at={created_at} ago /> },
          { header: 'Changed', cell: ({ updated_at }) => <TimeText at={updated_at} ago /> },
        ]}
      />
    </>
  );
}
