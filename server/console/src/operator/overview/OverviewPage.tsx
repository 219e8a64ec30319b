import { PageHeader } from '../../shared/PageHeader.tsx';

export function OverviewPage() {
  return <PageHeader title="Overview" />;
}
