import { PageHeader } from '../../shared/PageHeader.tsx';

export function FleetPage() {
  return <PageHeader title="Fleet" />;
}
