import { createRootRoute, createRoute, Navigate, Outlet } from '@tanstack/react-router';
import { operatorPages } from '../operator/pages.ts';
import { useSession } from '../session/context.ts';
import type { Session } from '../session/session.ts';
import { EmptyState } from '../shared/EmptyState.tsx';
import { ErrorAlert } from '../shared/ErrorAlert.tsx';
import { ButtonLink } from '../shared/links.tsx';
import { PageHeader } from '../shared/PageHeader.tsx';
import { tenantPages } from '../tenant/pages.ts';
import { Shell } from './Shell.tsx';

export const rootRoute = createRootRoute({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: ({ error }) => <ErrorAlert error={error} />,
});

export const homeRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/',
  component: function Home() {
    const { kind } = useSession();
    return <Navigate to={kind === 'operator' ? operatorPages[0].to : tenantPages[0].to} replace />;
  },
});

/** What only operators see. */
export const operatorRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: 'operator',
  component: () => <Only kind="operator" />,
});

/** What only tenants see. */
export const tenantRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: 'tenant',
  component: () => <Only kind="tenant" />,
});

function Only({ kind }: { kind: Session['kind'] }) {
  return useSession().kind === kind ? <Outlet /> : <NotFound />;
}

function NotFound() {
  return (
    <>
      <PageHeader title="There is no such page" />
      <EmptyState
        title="The address is wrong, or the page is for somebody else than who is signed in."
        action={<ButtonLink to="/">To the first page</ButtonLink>}
      />
    </>
  );
}
