import { createRoute } from '@tanstack/react-router';
import { lazyPage } from '../layout/lazyPage.tsx';
import { operatorRoute } from '../layout/routes.tsx';
import { given, oneOf, textParam } from '../shared/search.ts';
import { AUDIT_ACTIONS, SPANS, TENANT_ORDERS, TENANT_STATUSES, TENANT_TABS } from './filters.ts';

const getParentRoute = () => operatorRoute;

const overviewRoute = createRoute({
  getParentRoute,
  path: '/overview',
  validateSearch: (search) => given({ days: oneOf(SPANS, search.days) }),
  component: lazyPage(() => import('./overview/OverviewPage.tsx'), 'OverviewPage'),
});

const tenantsRoute = createRoute({
  getParentRoute,
  path: '/tenants',
  validateSearch: (search) =>
    given({
      q: textParam(search.q),
      status: oneOf(TENANT_STATUSES, search.status),
      order: oneOf(TENANT_ORDERS, search.order),
    }),
  component: lazyPage(() => import('./tenants/TenantsPage.tsx'), 'TenantsPage'),
});

const tenantRoute = createRoute({
  getParentRoute,
  path: '/tenants/$tenantId',
  validateSearch: (search) =>
    given({
      tab: oneOf(TENANT_TABS, search.tab),
      days: oneOf(SPANS, search.days),
    }),
  component: lazyPage(() => import('./tenant/TenantPage.tsx'), 'TenantPage'),
});

const fleetRoute = createRoute({
  getParentRoute,
  path: '/fleet',
  component: lazyPage(() => import('./fleet/FleetPage.tsx'), 'FleetPage'),
});

const auditRoute = createRoute({
  getParentRoute,
  path: '/audit',
  validateSearch: (search) =>
    given({
      tenant: textParam(search.tenant),
      actor: textParam(search.actor),
      action: oneOf(AUDIT_ACTIONS, search.action),
      since: textParam(search.since),
      until: textParam(search.until),
    }),
  component: lazyPage(() => import('./audit/AuditPage.tsx'), 'AuditPage'),
});

export const operatorRoutes = [overviewRoute, tenantsRoute, tenantRoute, fleetRoute, auditRoute] as const;
