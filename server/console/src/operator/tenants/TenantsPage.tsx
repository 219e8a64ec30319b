import { PageHeader } from '../../shared/PageHeader.tsx';

export function TenantsPage() {
  return <PageHeader title="Tenants" />;
}
