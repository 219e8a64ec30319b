import { Button } from '@mantine/core';
import { type ComponentType, type FunctionComponent, lazy } from 'react';
import { EmptyState } from '../shared/EmptyState.tsx';
import { ErrorAlert } from '../shared/ErrorAlert.tsx';
import { PageHeader } from '../shared/PageHeader.tsx';

/**
 * A page whose code comes when it is asked for, or about to be. The router's own way of it loads the whole page again
 * where the code does not come, which ends in nothing while the server is away.
 */
export function lazyPage<Module, Name extends keyof Module>(
  load: () => Promise<Module>,
  name: Name,
): FunctionComponent & { preload: () => Promise<void> } {
  // Only here called a component: were it asked for as one, the types of pages and routes would go in a circle.
  const Page = lazy(async () => ({ default: (await load())[name] as ComponentType }));
  const preload = async (): Promise<void> => {
    await load();
  };
  return Object.assign(() => <Page />, { preload });
}

/** Stands in the place of a page that failed; the rest goes on. */
export function PageFailed({ error }: { error: unknown }) {
  const isMissing =
    error instanceof Error && /dynamically imported module|module script failed/i.test(error.message);
  return (
    <>
      <PageHeader title="The page is not there" />
      {!isMissing && <ErrorAlert error={error} />}
      <EmptyState
        title={isMissing ? 'The server did not send it' : 'This should not happen'}
        action={<Button onClick={() => location.reload()}>Load again</Button>}
      >
        {isMissing && 'It is away for a moment, or there is a newer version of the console.'}
      </EmptyState>
    </>
  );
}
