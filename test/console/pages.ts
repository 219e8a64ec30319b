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

async function makeKey(page: Page): Promise<void> {
  await clickButton('New key')(page);
  await page.getByRole('dialog').getByLabel('Name').fill('nightly job');
  await page.getByRole('button', { name: 'Make it' }).click();
  await shown(page.getByTestId('secret'));
}

const tenantTab = (tab: string): ConsolePage => ({
  name: `tenant-${tab}`,
  path: ({ tenant }) => `/tenants/${tenant.id}?tab=${tab}`,
});

export const SIGN_IN: ConsolePage = { name: 'sign-in', path: () => '/' };

export const OPERATOR_PAGES: readonly ConsolePage[] = [
  { name: 'overview', path: () => '/overview' },
  {
    name: 'account',
    path: () => '/overview',
    open: (page) => page.getByRole('button', { name: /^Signed in as/ }).click(),
  },
  { name: 'tenants', path: () => '/tenants' },
  { name: 'new-tenant', path: () => '/tenants', open: clickButton('New tenant') },
  { name: 'import', path: () => '/tenants', open: clickButton('Import') },
  { name: 'trash', path: () => '/tenants?status=deleted' },
  ...['usage', 'limits', 'keys', 'providers', 'backups', 'settings'].map(tenantTab),
  {
    name: 'rotate',
    path: ({ tenant }) => `/tenants/${tenant.id}?tab=keys`,
    open: clickButton('Rotate website'),
  },
  { name: 'secret', path: ({ tenant }) => `/tenants/${tenant.id}?tab=keys`, open: makeKey },
  { name: 'fleet', path: () => '/fleet' },
  // Without today, when nothing but sign-ins happened.
  { name: 'audit', path: ({ today }) => `/audit?until=${today}` },
];

/** Asks for an order, answers the tool call and waits for the end of the answer. */
async function talk(page: Page): Promise<void> {
  await page.getByLabel('{plan}').fill('pro');
  await page.getByRole('textbox', { name: 'Message' }).fill('Where is my order 4711?');
  await page.keyboard.press('Enter');
  await page
    .getByLabel('Result of get_order')
    .fill('{"number": 4711, "status": "shipped", "carrier": "DHL"}');
  await page.getByRole('button', { name: 'Send results' }).click();
  await page
    .getByText(/tokens in, /)
    .nth(1)
    .waitFor();
}

export const TENANT_PAGES: readonly ConsolePage[] = [
  { name: 'playground', path: ({ configId }) => `/playground?config=${configId}`, open: talk },
  { name: 'tool-call', path: ({ waitingId }) => `/playground?conversation=${waitingId}` },
  { name: 'configs', path: () => '/configs' },
  { name: 'new-config', path: () => '/configs/new' },
  { name: 'config', path: ({ configId }) => `/configs/${configId}` },
  {
    name: 'versions',
    path: ({ configId }) => `/configs/${configId}?tab=versions`,
    open: async (page) => {
      await page.getByRole('button', { name: 'Compare version 1' }).click();
      await shown(page.getByRole('region', { name: 'Differences' }));
    },
  },
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
