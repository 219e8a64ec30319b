import { createRoute } from '@tanstack/react-router';
import { lazyPage } from '../layout/lazyPage.tsx';
import { tenantRoute } from '../layout/routes.tsx';
import { given, oneOf, textParam } from '../shared/search.ts';
import { CONFIG_TABS, KEY_TABS, SPANS, TURN_STATUSES } from './filters.ts';

const getParentRoute = () => tenantRoute;

const playgroundRoute = createRoute({
  getParentRoute,
  path: '/playground',
  validateSearch: (search) =>
    given({ config: textParam(search.config), conversation: textParam(search.conversation) }),
  component: lazyPage(() => import('./playground/PlaygroundPage.tsx'), 'PlaygroundPage'),
});

const configsRoute = createRoute({
  getParentRoute,
  path: '/configs',
  component: lazyPage(() => import('./configs/ConfigsPage.tsx'), 'ConfigsPage'),
});

const newConfigRoute = createRoute({
  getParentRoute,
  path: '/configs/new',
  validateSearch: (search) => given({ copy: textParam(search.copy) }),
  component: lazyPage(() => import('./configs/NewConfigPage.tsx'), 'NewConfigPage'),
});

const configRoute = createRoute({
  getParentRoute,
  path: '/configs/$configId',
  validateSearch: (search) => given({ tab: oneOf(CONFIG_TABS, search.tab) }),
  component: lazyPage(() => import('./configs/ConfigPage.tsx'), 'ConfigPage'),
});

const conversationsRoute = createRoute({
  getParentRoute,
  path: '/conversations',
  validateSearch: (search) =>
    given({
      config: textParam(search.config),
      user: textParam(search.user),
      title: textParam(search.title),
    }),
  component: lazyPage(() => import('./conversations/ConversationsPage.tsx'), 'ConversationsPage'),
});

const conversationRoute = createRoute({
  getParentRoute,
  path: '/conversations/$conversationId',
  component: lazyPage(() => import('./conversations/ConversationPage.tsx'), 'ConversationPage'),
});

const logsRoute = createRoute({
  getParentRoute,
  path: '/logs',
  validateSearch: (search) =>
    given({
      config: textParam(search.config),
      conversation: textParam(search.conversation),
      user: textParam(search.user),
      status: oneOf(TURN_STATUSES, search.status),
      since: textParam(search.since),
      until: textParam(search.until),
      log: textParam(search.log),
    }),
  component: lazyPage(() => import('./logs/LogsPage.tsx'), 'LogsPage'),
});

const usageRoute = createRoute({
  getParentRoute,
  path: '/usage',
  validateSearch: (search) => given({ days: oneOf(SPANS, search.days) }),
  component: lazyPage(() => import('./usage/UsagePage.tsx'), 'UsagePage'),
});

const keysRoute = createRoute({
  getParentRoute,
  path: '/keys',
  validateSearch: (search) => given({ tab: oneOf(KEY_TABS, search.tab) }),
  component: lazyPage(() => import('./keys/KeysPage.tsx'), 'KeysPage'),
});

const limitsRoute = createRoute({
  getParentRoute,
  path: '/limits',
  component: lazyPage(() => import('./limits/LimitsPage.tsx'), 'LimitsPage'),
});

const exportRoute = createRoute({
  getParentRoute,
  path: '/export',
  component: lazyPage(() => import('./export/ExportPage.tsx'), 'ExportPage'),
});

export const tenantRoutes = [
  playgroundRoute,
  configsRoute,
  newConfigRoute,
  configRoute,
  conversationsRoute,
  conversationRoute,
  logsRoute,
  usageRoute,
  keysRoute,
  limitsRoute,
  exportRoute,
] as const;
