import { createRouter } from '@tanstack/react-router';
import { PageFailed } from './layout/lazyPage.tsx';
import { homeRoute, operatorRoute, rootRoute, tenantRoute } from './layout/routes.tsx';
import { operatorRoutes } from './operator/routes.ts';
import { tenantRoutes } from './tenant/routes.ts';

export const createConsoleRouter = () =>
  createRouter({
    routeTree: rootRoute.addChildren([
      homeRoute,
      operatorRoute.addChildren([...operatorRoutes]),
      tenantRoute.addChildren([...tenantRoutes]),
    ]),
    basepath: '/console',
    // Only what a page reads from its address, and understands, stays in it.
    search: { strict: true },
    defaultErrorComponent: PageFailed,
    defaultPreload: 'intent',
    scrollRestoration: true,
  });

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createConsoleRouter>;
  }
}
