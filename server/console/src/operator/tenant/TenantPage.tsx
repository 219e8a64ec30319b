import { PageHeader } from '../../shared/PageHeader.tsx';

export function TenantPage() {
  return <PageHeader title="Tenant" />;
}
