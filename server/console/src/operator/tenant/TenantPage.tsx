import { Code, CopyButton, Skeleton, Tabs, UnstyledButton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatusBadge } from '../../shared/StatusBadge.tsx';
import { given, oneOf } from '../../shared/search.ts';
import { TENANT_TABS } from '../filters.ts';
import { tenantQuery } from '../queries.ts';
import { BackupsTab } from './BackupsTab.tsx';
import { KeysTab } from './KeysTab.tsx';
import { LimitsTab } from './LimitsTab.tsx';
import { ProvidersTab } from './ProvidersTab.tsx';
import { SettingsTab } from './SettingsTab.tsx';
import { UsageTab } from './UsageTab.tsx';

type Tab = (typeof TENANT_TABS)[number];
interface TabPage {
  label: string;
  show: (tenant: Schema<'Tenant'>) => ReactNode;
}

const TABS: Record<Tab, TabPage> = {
  usage: { label: 'Usage', show: (tenant) => <UsageTab tenant={tenant} /> },
  limits: { label: 'Limits', show: (tenant) => <LimitsTab tenant={tenant} /> },
  keys: { label: 'Keys', show: (tenant) => <KeysTab tenant={tenant} /> },
  providers: { label: 'Provider keys', show: (tenant) => <ProvidersTab tenant={tenant} /> },
  backups: { label: 'Backups', show: (tenant) => <BackupsTab tenant={tenant} /> },
  settings: { label: 'Settings', show: (tenant) => <SettingsTab tenant={tenant} /> },
};

const route = getRouteApi('/operator/tenants/$tenantId');

/** One tenant: what it uses, what it may, and its data as files. */
export function TenantPage() {
  const { tenantId } = route.useParams();
  const { tab = 'usage' } = route.useSearch();
  const navigate = route.useNavigate();
  const { data: tenant, error, refetch } = useQuery(tenantQuery(useApi(), tenantId));
  if (error && !tenant) return <Failed error={error} onRetry={refetch} />;
  const open = (value: string | null) =>
    navigate({ search: (before) => given({ ...before, tab: oneOf(TENANT_TABS, value) }), replace: true });
  return (
    <>
      <PageHeader
        title={tenant?.name ?? 'Tenant'}
        badge={tenant ? <StatusBadge status={tenant.status} /> : <Skeleton width={72} height={20} />}
        description={<CopyId id={tenantId} />}
      />
      <Tabs value={tab} onChange={open} keepMounted={false}>
        <Tabs.List mb="lg" aria-label="About the tenant">
          {TENANT_TABS.map((name) => (
            <Tabs.Tab key={name} value={name}>
              {TABS[name].label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {TENANT_TABS.map((name) => (
          <Tabs.Panel key={name} value={name}>
            {tenant ? TABS[name].show(tenant) : <Skeleton height={240} />}
          </Tabs.Panel>
        ))}
      </Tabs>
    </>
  );
}

function Failed({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <>
      <PageHeader title="Tenant" />
      <ErrorAlert error={error} onRetry={onRetry} />
    </>
  );
}

function CopyId({ id }: { id: string }) {
  return (
    <CopyButton value={id}>
      {({ copied, copy }) => (
        <UnstyledButton onClick={copy} title="Copy the id">
          <Code>{copied ? 'Copied' : id}</Code>
        </UnstyledButton>
      )}
    </CopyButton>
  );
}
