import { NativeSelect, SimpleGrid, TextInput } from '@mantine/core';
import { getRouteApi } from '@tanstack/react-router';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { startOfDay } from '../../shared/clock.ts';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { FilterText } from '../../shared/FilterText.tsx';
import { formatCount, formatMs } from '../../shared/format.ts';
import { ButtonLink, TextLink } from '../../shared/links.tsx';
import { Money } from '../../shared/Money.tsx';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatusBadge } from '../../shared/StatusBadge.tsx';
import { type Change, given, oneOf } from '../../shared/search.ts';
import { TimeText } from '../../shared/TimeText.tsx';
import { useCursorPages } from '../../shared/useCursorPages.ts';
import { ConfigLink } from '../ConfigLink.tsx';
import { ConfigSelect } from '../ConfigSelect.tsx';
import { TURN_STATUSES } from '../filters.ts';
import { NoScope } from '../NoScope.tsx';
import { useMay } from '../scopes.ts';
import { LogDrawer } from './LogDrawer.tsx';

const route = getRouteApi('/tenant/logs');
const PAGE_ROWS = 50;

/** One row for every turn. */
export function LogsPage() {
  return (
    <>
      <PageHeader title="Logs" description="Every turn that was admitted and has ended, newest first." />
      {useMay('read') ? <Logs /> : <NoScope scope="read" />}
    </>
  );
}

function Logs() {
  const { client } = useApi();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { config, conversation, user, status, since, until, log } = search;
  const filter = given({
    config_id: config,
    conversation_id: conversation,
    user,
    status,
    since: startOfDay(since),
    until: startOfDay(until),
  });
  const pages = useCursorPages<Schema<'Log'>>(['logs', 'pages', filter], (cursor, signal) => {
    const query = { ...filter, ...cursor, limit: PAGE_ROWS };
    return dataOf(client.GET('/api/v1/logs', { params: { query }, signal }));
  });
  const set = (change: Change<typeof search>) =>
    navigate({
      search: (before) => given({ ...before, ...change }),
      // The page that is shown under a row's details.
      state: true,
      replace: true,
      resetScroll: false,
    });
  return (
    <>
      <SimpleGrid component="search" cols={{ base: 2, md: 3, lg: 6 }} spacing="sm" mb="md">
        <NativeSelect
          label="Status"
          value={status ?? ''}
          data={[{ value: '', label: 'all' }, ...TURN_STATUSES]}
          onChange={({ currentTarget }) => set({ status: oneOf(TURN_STATUSES, currentTarget.value) })}
        />
        <ConfigSelect label="Config" all="all" value={config} onChange={(id) => set({ config: id })} />
        <FilterText
          label="User"
          placeholder="The exact name"
          value={user}
          onChange={(name) => set({ user: name })}
        />
        <FilterText
          label="Conversation"
          placeholder="Its id"
          value={conversation}
          onChange={(id) => set({ conversation: id })}
        />
        <TextInput
          type="date"
          label="From"
          value={since ?? ''}
          onChange={({ currentTarget }) => set({ since: currentTarget.value || undefined })}
        />
        <TextInput
          type="date"
          label="Before"
          value={until ?? ''}
          onChange={({ currentTarget }) => set({ until: currentTarget.value || undefined })}
        />
      </SimpleGrid>
      <PagedTable
        label="Logs"
        pages={pages}
        rowKey={({ id }) => id}
        minWidth={860}
        expected={10}
        empty={
          Object.keys(filter).length === 0 ? (
            <EmptyState
              title="No turns yet"
              action={<ButtonLink to="/playground">To the playground</ButtonLink>}
            >
              Each turn leaves a row here, whoever takes it.
            </EmptyState>
          ) : pages.hasNext ? (
            <EmptyState title="None on this page">Older ones may fit: go on to the next page.</EmptyState>
          ) : (
            <EmptyState title="No turn fits">
              Users and ids are named exactly; empty filters show all.
            </EmptyState>
          )
        }
        columns={[
          {
            header: 'When',
            cell: ({ id, created_at }) => (
              <TextLink
                to="/logs"
                search={{ ...search, log: id }}
                state={true}
                preload={false}
                resetScroll={false}
              >
                <TimeText at={created_at} />
              </TextLink>
            ),
          },
          { header: 'Status', cell: (row) => <StatusBadge status={row.status} /> },
          { header: 'Config', cell: ({ config_id }) => <ConfigLink id={config_id} /> },
          { header: 'Model', cell: ({ model }) => model },
          { header: 'User', cell: (row) => row.user ?? '–' },
          {
            header: 'Tokens',
            numeric: true,
            cell: ({ usage }) => `${formatCount(usage.input_tokens)} + ${formatCount(usage.output_tokens)}`,
          },
          { header: 'Cost', numeric: true, cell: ({ cost_usd }) => <Money usd={cost_usd} /> },
          { header: 'Time', numeric: true, cell: ({ latency_ms }) => formatMs(latency_ms) },
        ]}
      />
      <LogDrawer id={log} onClose={() => set({ log: undefined })} />
    </>
  );
}
