import { createRoute, lazyRouteComponent } from '@tanstack/react-router';
import { tenantRoute } from '../layout/routes.tsx';

const playgroundRoute = createRoute({
  getParentRoute: () => tenantRoute,
  path: '/playground',
  component: lazyRouteComponent(() => import('./playground/PlaygroundPage.tsx'), 'PlaygroundPage'),
});

export const tenantRoutes = [playgroundRoute] as const;
