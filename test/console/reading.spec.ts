import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import type { TestTenant } from '../support/http.ts';
import { BROWSER_TIMEOUT_MS, createWorld, gone, type Secret, shown, takeSecret } from './support.ts';

describe('what a tenant reads in the console', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();
  let tenant: TestTenant & { secret: Secret };
  let config: string;

  before(async () => {
    tenant = await world.tenant();
    config = await world.config(tenant, { name: 'Support' });
    world.upstream.script(
      { text: 'Hello Ada.' },
      { text: 'Hello Grace.' },
      { status: 400, errorMessage: 'No.' },
    );
    for (const user of ['ada', 'grace', 'ada'])
      await tenant.client.chat(config, { message: `I am ${user}`, user });
  });

  it('logs, with filters that are in the address and last through a reload', async () => {
    await world.visit('/logs', { as: tenant.secret }, async (page) => {
      const rows = page.getByRole('region', { name: 'Logs' }).getByRole('row');
      await shown(rows.nth(3));
      await page.getByLabel('Status').selectOption('error');
      await gone(rows.nth(2));
      await page.getByRole('searchbox', { name: 'User' }).fill('grace');
      await shown(page.getByText('No turn fits'));
      await page.getByLabel('Status').selectOption('');
      await page.waitForURL((url) => url.search === '?user=grace');
      await page.reload();
      await shown(rows.getByText('grace'));
      expect(await rows.count()).to.equal(2);
      expect(await page.getByRole('searchbox', { name: 'User' }).inputValue()).to.equal('grace');

      await rows.nth(1).getByRole('link').first().click();
      const drawer = page.getByRole('dialog', { name: 'One turn' });
      await shown(drawer.getByText('openai gpt-4.1-mini'));
      expect(new URL(page.url()).searchParams.get('log')).to.not.equal(null);
      await page.reload();
      await drawer.getByRole('link', { name: 'The conversation' }).click();
      await shown(page.getByText('Hello Grace.'));
    });
  });

  it('logs page by page, with the details of a row over the page that it is on', async () => {
    const { client, secret } = await world.tenant();
    const demo = await world.server.createConfig(client);
    for (let turn = 0; turn < 51; turn += 1) await client.chat(demo, { message: 'Hi', user: `user ${turn}` });
    await world.visit('/logs', { as: secret }, async (page) => {
      await page.getByRole('button', { name: 'Next' }).click();
      const oldest = page.getByRole('row').filter({ hasText: 'user 0' });
      await oldest.getByRole('link').first().click();
      const drawer = page.getByRole('dialog', { name: 'One turn' });
      await shown(drawer.getByText('user 0'));
      await page.keyboard.press('Escape');
      await gone(drawer);
      await shown(oldest);
      await shown(page.getByText('Page 2'));

      // A name that is a figure too stands in the address as it was typed, and is read from there as a name.
      const user = page.getByRole('searchbox', { name: 'User' });
      await user.fill('017');
      await page.waitForURL((url) => url.search === '?user=017');
      await page.reload();
      expect(await user.inputValue()).to.equal('017');
    });
  });

  it('conversations: found, read, renamed, continued, deleted', async () => {
    await world.visit('/conversations?user=ada', { as: tenant.secret }, async (page) => {
      const rows = page.getByRole('region', { name: 'Conversations' }).getByRole('row');
      await rows.nth(1).getByRole('link').first().click();
      await shown(page.getByText('Hello Ada.'));
      await page.getByRole('button', { name: 'Rename' }).click();
      await page.getByLabel('Title').fill('A talk with Ada');
      await page.getByRole('dialog').getByRole('button', { name: 'Rename' }).click();
      await shown(page.getByRole('heading', { level: 1, name: 'A talk with Ada' }));

      await page.getByRole('link', { name: 'Continue' }).click();
      await page.getByRole('textbox', { name: 'Message' }).fill('Once more');
      await page.keyboard.press('Enter');
      await shown(page.getByText('Hello from upstream.'));

      await page.goBack();
      await page.getByRole('button', { name: 'Delete' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
      await shown(page.getByRole('heading', { level: 1, name: 'Conversations' }));
      await gone(page.getByText('A talk with Ada'));
    });
  });

  it('its own keys: made here, used by a program, and dead once revoked here', async () => {
    await world.visit('/keys', { as: tenant.secret }, async (page) => {
      await page.getByRole('button', { name: 'New key' }).click();
      await page.getByRole('dialog').getByLabel('Name').fill('website');
      await page.getByRole('dialog').getByRole('button', { name: 'Make it' }).click();
      const website = world.server.tenant(await takeSecret(page));
      expect((await website.get('/api/v1/me')).status).to.equal(200);
      await page.getByRole('button', { name: 'Revoke website' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
      await shown(page.getByRole('cell', { name: 'revoked' }));
      expect((await website.get('/api/v1/me')).status).to.equal(401);
    });
  });

  it('that it is signed out, once it has revoked the key that it is signed in with', async () => {
    const { client, secret } = await world.tenant();
    await client.post('/api/v1/keys', { name: 'another' });
    await world.visit('/keys', { as: secret, faults: [/^401 GET /] }, async (page) => {
      await page.getByRole('button', { name: 'Revoke default' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
      await shown(page.getByRole('dialog', { name: 'Your session has ended' }));
    });
  });

  it('that its last key cannot be revoked, and why', async () => {
    const { secret } = await world.tenant();
    await world.visit('/keys', { as: secret, faults: [/^422 DELETE /] }, async (page) => {
      await page.getByRole('button', { name: 'Revoke default' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
      await shown(page.getByRole('dialog').getByText('the last key with the scope "manage"'));
    });
  });

  it('only what its key allows: nothing to change for one that may read', async () => {
    const { body } = await tenant.client.post('/api/v1/keys', { name: 'reader', scopes: ['read'] });
    await world.visit('/keys', { as: { api_key: String(body.api_key) } }, async (page) => {
      await shown(page.getByText('manage').first());
      expect(await page.getByRole('button', { name: /^(New key|Rotate|Revoke)/ }).count()).to.equal(0);
      await page.getByRole('link', { name: 'Playground' }).click();
      await shown(page.getByText('chat').first());
      expect(await page.getByRole('button', { name: 'Send' }).count()).to.equal(0);
      await page.goto(`/console/configs/${config}`);
      await shown(page.getByRole('heading', { level: 1, name: 'Support' }));
      expect(await page.getByRole('button', { name: 'Save' }).count()).to.equal(0);
    });
  });

  it('what is left of its limits, and its whole file', async () => {
    const limits = { requests_per_minute: 60, monthly_spend_usd: 5, storage_bytes_max: 64 * 1024 * 1024 };
    await world.server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, { limits });
    await world.visit('/limits', { as: tenant.secret }, async (page) => {
      await shown(page.getByText(/\d+ of 60 left/));
      await shown(page.getByText(/^\$\d\.\d\d of \$5\.00 left$/));
      await shown(page.getByText(/^\d\d\.\d MiB of 64\.0 MiB left$/));
      await page.getByRole('link', { name: 'Export' }).click();
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'Download it' }).click(),
      ]);
      expect((await readFile(await download.path())).subarray(0, 15).toString()).to.equal('SQLite format 3');
    });
  });
});
