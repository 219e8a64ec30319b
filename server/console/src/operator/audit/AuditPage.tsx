import { PageHeader } from '../../shared/PageHeader.tsx';

export function AuditPage() {
  return <PageHeader title="Audit" />;
}
