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
    // Every value is a text, and stands in the address as it is; the router's own way writes JSON.
    parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
    stringifySearch: (search) => {
      const text = String(new URLSearchParams(search));
      return text === '' ? '' : `?${text}`;
    },
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
