import { PageHeader } from '../../shared/PageHeader.tsx';

export function PlaygroundPage() {
  return <PageHeader title="Playground" />;
}
