import type { Page } from 'playwright-core';
import type { Seeded } from './seed.ts';
import { shown } from './support.ts';

/** A page of the console, with what is seen on it. */
export interface ConsolePage {
  /** What it is called in test names and in file names of pictures. */
  name: string;
  path(seeded: Seeded): string;
  /** What has to be done before it shows what it is for. */
  open?: (page: Page) => Promise<void>;
}

const clickButton = (name: string) => async (page: Page) => {
  await page.getByRole('button', { name, exact: true }).first().click();
  await shown(page.getByRole('dialog'));
};

const tenantTab = (tab: string): ConsolePage => ({
  name: `tenant-${tab}`,
  path: ({ tenant }) => `/tenants/${tenant.id}?tab=${tab}`,
});

export const OPERATOR_PAGES: readonly ConsolePage[] = [
  { name: 'overview', path: () => '/overview' },
  { name: 'tenants', path: () => '/tenants' },
  { name: 'new-tenant', path: () => '/tenants', open: clickButton('New tenant') },
  { name: 'import', path: () => '/tenants', open: clickButton('Import') },
  { name: 'trash', path: () => '/tenants?status=deleted' },
  ...['usage', 'limits', 'keys', 'providers', 'backups', 'settings'].map(tenantTab),
  { name: 'fleet', path: () => '/fleet' },
  { name: 'audit', path: () => '/audit' },
];

export const TENANT_PAGES: readonly ConsolePage[] = [
  {
    name: 'playground',
    path: ({ waitingId, configId }) => `/playground?config=${configId}&conversation=${waitingId}`,
  },
  { name: 'configs', path: () => '/configs' },
  { name: 'new-config', path: () => '/configs/new' },
  { name: 'config', path: ({ configId }) => `/configs/${configId}` },
  { name: 'versions', path: ({ configId }) => `/configs/${configId}?tab=versions` },
  { name: 'conversations', path: () => '/conversations' },
  { name: 'conversation', path: ({ conversationId }) => `/conversations/${conversationId}` },
  { name: 'logs', path: () => '/logs' },
  { name: 'log', path: ({ logId }) => `/logs?log=${logId}` },
  { name: 'own-usage', path: () => '/usage' },
  { name: 'own-keys', path: () => '/keys' },
  { name: 'own-limits', path: () => '/limits' },
  { name: 'export', path: () => '/export' },
];

/** Waits until the page shows what it is for, and nothing moves any more. */
export async function settled(page: Page): Promise<void> {
  await shown(page.getByRole('heading', { level: 1 }));
  // Not waitForFunction: it evaluates a text later, which the page's policy refuses.
  await page.evaluate(`
    new Promise((resolve) => {
      const look = () => {
        const isWaiting = document.querySelector('.mantine-Skeleton-root, [aria-busy="true"], .mantine-Loader-root');
        const isMoving = document.getAnimations().some(({ playState }) => playState === 'running');
        if (isWaiting || isMoving) requestAnimationFrame(look);
        else resolve();
      };
      look();
    })
  `);
}
