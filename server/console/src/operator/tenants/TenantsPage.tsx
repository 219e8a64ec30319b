import { Button, Group, NativeSelect } from '@mantine/core';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { dataOf, type Schema } from '../../api/client.ts';
import { useApi, useMayOperate } from '../../session/context.ts';
import { EmptyState } from '../../shared/EmptyState.tsx';
import { FilterText } from '../../shared/FilterText.tsx';
import { TextLink } from '../../shared/links.tsx';
import { PagedTable } from '../../shared/PagedTable.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatusBadge } from '../../shared/StatusBadge.tsx';
import { type Change, given, oneOf } from '../../shared/search.ts';
import { TimeText } from '../../shared/TimeText.tsx';
import { useCursorPages } from '../../shared/useCursorPages.ts';
import { TENANT_ORDERS, TENANT_STATUSES } from '../filters.ts';
import { ImportDialog } from './ImportDialog.tsx';
import { NewTenantDialog } from './NewTenantDialog.tsx';
import { TrashButtons, type TrashChoice, TrashDialogs } from './Trash.tsx';

type Tenant = Schema<'Tenant'>;

const route = getRouteApi('/operator/tenants');
const PAGE_ROWS = 25;

/** All tenants: to find one, and to make one. */
export function TenantsPage() {
  const api = useApi();
  const mayOperate = useMayOperate();
  const { q, status, order } = route.useSearch();
  const navigate = route.useNavigate();
  const [open, setOpen] = useState<'new' | 'import' | null>(null);
  const [chosen, setChosen] = useState<TrashChoice | null>(null);
  const filter = given({ search: q, status, order });
  const pages = useCursorPages<Tenant>(['tenants', filter], (cursor, signal) => {
    const query = { ...filter, ...cursor, limit: PAGE_ROWS };
    return dataOf(api.client.GET('/api/v1/admin/tenants', { params: { query }, signal }));
  });
  const set = (change: Change<ReturnType<typeof route.useSearch>>) =>
    navigate({ search: (before) => given({ ...before, ...change }), replace: true });
  const add = mayOperate && <Button onClick={() => setOpen('new')}>New tenant</Button>;
  const isFiltered = q !== undefined || status !== undefined;

  return (
    <>
      <PageHeader
        title="Tenants"
        description="Each has a database file and keys of its own."
        actions={
          mayOperate && (
            <>
              <Button variant="default" onClick={() => setOpen('import')}>
                Import
              </Button>
              {add}
            </>
          )
        }
      />
      <Group component="search" align="flex-end" mb="md" gap="sm">
        <FilterText
          label="Name"
          placeholder="Part of a name"
          value={q}
          onChange={(next) => set({ q: next })}
        />
        <NativeSelect
          label="Status"
          value={status ?? ''}
          data={[{ value: '', label: 'all but deleted' }, ...TENANT_STATUSES]}
          onChange={({ currentTarget }) => set({ status: oneOf(TENANT_STATUSES, currentTarget.value) })}
        />
        <NativeSelect
          label="Order"
          value={order ?? 'newest'}
          data={[
            { value: 'newest', label: 'newest first' },
            { value: 'oldest', label: 'oldest first' },
            { value: 'name', label: 'by name' },
          ]}
          onChange={({ currentTarget }) => set({ order: oneOf(TENANT_ORDERS, currentTarget.value) })}
        />
      </Group>
      <PagedTable
        label="Tenants"
        pages={pages}
        rowKey={({ id }) => id}
        expected={10}
        empty={
          isFiltered ? (
            <EmptyState title="No tenant fits">Try another part of the name, or another status.</EmptyState>
          ) : (
            <EmptyState title="No tenants yet" action={add}>
              Make one for each of your customers; it comes with a first API key.
            </EmptyState>
          )
        }
        columns={[
          {
            header: 'Name',
            cell: ({ id, name, status: now }) =>
              now === 'deleted' ? (
                name
              ) : (
                <TextLink to="/tenants/$tenantId" params={{ tenantId: id }} preload={false}>
                  {name}
                </TextLink>
              ),
          },
          { header: 'Status', cell: (row) => <StatusBadge status={row.status} /> },
          { header: 'Providers', cell: ({ limits }) => limits.providers?.join(', ') ?? 'all' },
          { header: 'Made', cell: ({ created_at }) => <TimeText at={created_at} /> },
          ...(status === 'deleted'
            ? [
                { header: 'Deleted', cell: (row: Tenant) => <TimeText at={row.deleted_at ?? null} ago /> },
                {
                  header: 'Actions',
                  cell: (row: Tenant) => mayOperate && <TrashButtons tenant={row} onChoose={setChosen} />,
                },
              ]
            : []),
        ]}
      />
      <NewTenantDialog opened={open === 'new'} onClose={() => setOpen(null)} />
      <ImportDialog opened={open === 'import'} onClose={() => setOpen(null)} />
      <TrashDialogs choice={chosen} onClose={() => setChosen(null)} />
    </>
  );
}
