import { Code, Group, NativeSelect, Text, TextInput } from '@mantine/core';
import { getRouteApi } from '@tanstack/react-router';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { startOfDay } from '../../shared/clock.ts';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { RequestId } from '../../shared/ErrorAlert.tsx';
import { FilterText } from '../../shared/FilterText.tsx';
import { TextLink } from '../../shared/links.tsx';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { type Change, given, oneOf } from '../../shared/search.ts';
import { TimeText } from '../../shared/TimeText.tsx';
import { useCursorPages } from '../../shared/useCursorPages.ts';
import { AUDIT_ACTIONS } from '../filters.ts';

const route = getRouteApi('/operator/audit');
const PAGE_ROWS = 50;

/** Who did what, and when. */
export function AuditPage() {
  const api = useApi();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant, actor, action, since, until } = search;
  const filter = given({
    tenant_id: tenant,
    actor,
    action,
    since: startOfDay(since),
    until: startOfDay(until),
  });
  const pages = useCursorPages<Schema<'AuditEvent'>>(['audit', filter], (cursor, signal) => {
    const query = { ...filter, ...cursor, limit: PAGE_ROWS };
    return dataOf(api.client.GET('/api/v1/admin/audit', { params: { query }, signal }));
  });
  const set = (change: Change<typeof search>) =>
    navigate({ search: (before) => given({ ...before, ...change }), replace: true });
  return (
    <>
      <PageHeader
        title="Audit"
        description="Every change by an admin, a key or the server itself, newest first."
      />
      <Group component="search" align="flex-end" mb="md" gap="sm">
        <NativeSelect
          label="Action"
          data={[{ value: '', label: 'All' }, ...AUDIT_ACTIONS]}
          value={action ?? ''}
          onChange={({ currentTarget }) => set({ action: oneOf(AUDIT_ACTIONS, currentTarget.value) })}
        />
        <FilterText
          label="Who"
          placeholder="Name or id"
          value={actor}
          onChange={(next) => set({ actor: next })}
        />
        <FilterText
          label="Tenant"
          placeholder="Its id"
          value={tenant}
          onChange={(next) => set({ tenant: next })}
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
      </Group>
      <PagedTable
        label="Audit"
        pages={pages}
        rowKey={({ id }) => id}
        minWidth={860}
        expected={10}
        empty={
          <EmptyState title="Nothing fits">
            Nobody did such a thing in this time; empty fields show everything.
          </EmptyState>
        }
        columns={[
          { header: 'When', cell: ({ created_at }) => <TimeText at={created_at} /> },
          {
            header: 'Who',
            cell: ({ actor: who }) => (
              <>
                {who.name}{' '}
                <Text span size="xs" c="dimmed">
                  {who.kind}
                </Text>
              </>
            ),
          },
          { header: 'Action', cell: (event) => event.action },
          { header: 'Tenant', cell: ({ tenant_id }) => tenant_id && <TenantLink id={tenant_id} /> },
          { header: 'Changes', cell: ({ changes }) => <Changes changes={changes} /> },
          { header: 'Request', cell: ({ request_id }) => request_id && <RequestId id={request_id} short /> },
        ]}
      />
    </>
  );
}

function TenantLink({ id }: { id: string }) {
  return (
    <TextLink to="/tenants/$tenantId" params={{ tenantId: id }} preload={false} title={id}>
      <Code>…{id.slice(-8)}</Code>
    </TextLink>
  );
}

function Changes({ changes }: { changes: Record<string, unknown> }) {
  if (Object.keys(changes).length === 0) return '–';
  return (
    <details>
      <summary>{Object.keys(changes).join(', ')}</summary>
      <Code block>{JSON.stringify(changes, null, 2)}</Code>
    </details>
  );
}
