import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import type { Page } from 'playwright-core';
import { BROWSER_TIMEOUT_MS, createWorld, gone, shown, takeSecret } from './support.ts';

describe("the operator's pages of tenants", function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();
  const meWith = (key: string) => world.server.tenant(key).get('/api/v1/me');
  const dialog = (page: Page, name: string) => page.getByRole('dialog', { name });
  /** The button of a dialog that does what it asks about. */
  const confirm = (page: Page, title: string, verb: string) =>
    dialog(page, title).getByRole('button', { name: verb, exact: true }).click();

  it('make a tenant and show its key once; revoked in the page, it is dead on the next request', async () => {
    await world.visit('/tenants', { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'New tenant' }).first().click();
      await dialog(page, 'New tenant').getByLabel('Name').fill('Söhne & Co <b>');
      await confirm(page, 'New tenant', 'Make it');
      const secret = page.getByTestId('secret');
      await shown(secret);
      await page.keyboard.press('Escape');
      const key = await takeSecret(page);
      await shown(page.getByRole('heading', { level: 1, name: 'Söhne & Co <b>' }));
      expect((await meWith(key)).status).to.equal(200);
      await page.goBack();
      await page.goForward();
      await shown(page.getByRole('heading', { level: 1, name: 'Söhne & Co <b>' }));
      expect(await secret.count(), 'the key is not shown again').to.equal(0);
      expect(await page.content()).to.not.include(key);

      await page.getByRole('tab', { name: 'Keys', exact: true }).click();
      await page.getByRole('button', { name: 'Revoke default' }).click();
      await confirm(page, 'Revoke default', 'Revoke');
      await gone(dialog(page, 'Revoke default'));
      expect((await meWith(key)).status).to.equal(401);
      await shown(page.getByRole('cell', { name: 'revoked' }));
    });
  });

  it('rotate a key: the new secret works, the old one no more', async () => {
    const { id, apiKey } = await world.tenant();
    await world.visit(`/tenants/${id}?tab=keys`, { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'Rotate default' }).click();
      await dialog(page, 'Rotate default').getByLabel('The old secret works').selectOption('0');
      await confirm(page, 'Rotate default', 'Rotate');
      const rotated = await takeSecret(page);
      expect([(await meWith(rotated)).status, (await meWith(apiKey)).status]).to.deep.equal([200, 401]);
    });
  });

  it('make a key with fewer scopes', async () => {
    const { id } = await world.tenant();
    await world.visit(`/tenants/${id}?tab=keys`, { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'New key' }).click();
      await dialog(page, 'New key').getByLabel('Name').fill('reader');
      await page.getByLabel('chat: take turns').uncheck();
      await page.getByLabel('manage: configs').uncheck();
      await confirm(page, 'New key', 'Make it');
      const { body } = await meWith(await takeSecret(page));
      expect(body.key).to.deep.include({ name: 'reader', scopes: ['read'] });
    });
  });

  it('set limits, of which an empty one is none', async () => {
    const { id } = await world.tenant();
    await world.visit(`/tenants/${id}?tab=limits`, { as: world.operator() }, async (page) => {
      await page.getByLabel('Spend a month, US$').fill('12.5');
      await page.getByLabel('Storage, MiB').fill('64');
      const providers = page.getByRole('combobox', { name: 'Providers' });
      await providers.click();
      await page.getByRole('option', { name: 'anthropic' }).click();
      await page.getByRole('button', { name: 'Save' }).click();
      await shown(page.getByText('The limits hold from the next request on.'));
      await page.reload();
      expect(await page.getByLabel('Storage, MiB').inputValue()).to.equal('64');
      expect(await page.getByLabel('Turns at once').inputValue()).to.equal('');
    });
    const { body } = await world.server.admin.get(`/api/v1/admin/tenants/${id}`);
    expect(body.limits).to.deep.equal({
      requests_per_minute: null,
      tokens_per_minute: null,
      max_concurrent_turns: null,
      monthly_spend_usd: 12.5,
      storage_bytes_max: 64 * 1024 * 1024,
      providers: ['anthropic'],
    });
  });

  it('back up, and bring back what was there before a change', async () => {
    const tenant = await world.tenant();
    const config = await world.server.createConfig(tenant.client, { name: 'As it was' });
    const nameNow = async () => (await tenant.client.get(`/api/v1/configs/${config}`)).body.name;
    await world.visit(`/tenants/${tenant.id}?tab=backups`, { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'Back up now' }).click();
      await shown(page.getByRole('cell', { name: 'by hand' }));
      await tenant.client.patch(`/api/v1/configs/${config}`, { name: 'Changed since' });

      await page.getByRole('button', { name: 'Restore' }).click();
      await confirm(page, 'Restore Acme', 'Restore');
      await shown(page.getByRole('cell', { name: 'before a restore' }));
      expect(await nameNow()).to.equal('As it was');

      // What was kept before the restore undoes it.
      const kept = page.getByRole('row').filter({ hasText: 'before a restore' });
      await kept.getByRole('button', { name: 'Restore' }).click();
      await confirm(page, 'Restore Acme', 'Restore');
      await gone(dialog(page, 'Restore Acme'));
      expect(await nameNow()).to.equal('Changed since');
    });
  });

  it('import an exported file that is dropped on the page', async () => {
    const tenant = await world.tenant('Traveller');
    await world.server.createConfig(tenant.client, { name: 'Came along' });
    await world.visit(`/tenants/${tenant.id}?tab=settings`, { as: world.operator() }, async (page) => {
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('link', { name: 'Export' }).click(),
      ]);
      const file = await readFile(await download.path());
      await page.getByRole('link', { name: 'Tenants' }).click();
      await page.getByRole('button', { name: 'Import' }).click();
      const transfer = await page.evaluateHandle(`
        const transfer = new DataTransfer();
        const bytes = Uint8Array.from(atob('${file.toString('base64')}'), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], '${download.suggestedFilename()}'));
        transfer;
      `);
      const target = page.getByRole('group', { name: 'Drop an exported database file here' });
      await target.dispatchEvent('drop', { dataTransfer: transfer });
      const name = dialog(page, 'Import a tenant').getByLabel('Name of the tenant');
      expect(await name.inputValue()).to.match(/^[Tt]raveller$/);
      await name.fill('Arrived');
      await confirm(page, 'Import a tenant', 'Import');
      const key = await takeSecret(page);
      await shown(page.getByRole('heading', { level: 1, name: 'Arrived' }));
      const { body } = await world.server.tenant(key).get('/api/v1/configs');
      expect(body.data).to.have.nested.property('[0].name', 'Came along');
    });
  });

  it('say why a file cannot be imported, and keep the form', async () => {
    const faults = [/^422 POST \/api\/v1\/admin\/tenants\/import/];
    await world.visit('/tenants', { as: world.operator(), faults }, async (page) => {
      await page.getByRole('button', { name: 'Import' }).click();
      await page.locator('input[type=file]').setInputFiles({
        name: 'notes.db',
        mimeType: 'text/plain',
        buffer: Buffer.from('These are no rows.'),
      });
      await confirm(page, 'Import a tenant', 'Import');
      const alert = dialog(page, 'Import a tenant').getByRole('alert');
      await shown(alert.getByRole('button', { name: /^Request / }));
      expect(await page.getByLabel('Name of the tenant').inputValue()).to.equal('notes');
      await shown(page.getByText('notes.db (18 bytes)'));
    });
  });

  it('suspend, resume and clone', async () => {
    const tenant = await world.tenant('Original');
    await world.visit(`/tenants/${tenant.id}?tab=settings`, { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'Suspend' }).click();
      await shown(page.getByRole('button', { name: 'Resume' }));
      expect((await tenant.client.get('/api/v1/configs')).status).to.equal(403);
      await page.getByRole('button', { name: 'Resume' }).click();
      await shown(page.getByRole('button', { name: 'Suspend' }));
      expect((await tenant.client.get('/api/v1/configs')).status).to.equal(200);
      await page.getByRole('button', { name: 'Clone' }).click();
      await confirm(page, 'Clone Original', 'Clone');
      expect((await meWith(await takeSecret(page))).body).to.have.nested.property(
        'tenant.name',
        'Original (copy)',
      );
      await shown(page.getByRole('heading', { level: 1, name: 'Original (copy)' }));
    });
  });

  it('delete only who types the name, undelete with a new key, and purge for good', async () => {
    const tenant = await world.tenant('Doomed');
    await world.visit(`/tenants/${tenant.id}?tab=settings`, { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'Delete' }).click();
      const typed = page.getByLabel('Type “Doomed” to confirm');
      const remove = dialog(page, 'Delete Doomed').getByRole('button', { name: 'Delete', exact: true });
      await typed.fill('doomed');
      expect(await remove.isDisabled()).to.equal(true);
      await page.keyboard.press('Enter');
      expect((await tenant.client.get('/api/v1/me')).status).to.equal(200);
      await typed.fill('Doomed');
      await remove.click();
      await page.waitForURL((url) => url.searchParams.get('status') === 'deleted');
      expect((await tenant.client.get('/api/v1/me')).status).to.equal(401);

      await page.getByRole('button', { name: 'Undelete Doomed' }).click();
      await confirm(page, 'Undelete Doomed', 'Undelete');
      // The page then leads to the tenant's own: what is deleted while that loads is an error of the page.
      const loaded = page.waitForResponse(`**/api/v1/admin/tenants/${tenant.id}`);
      expect((await meWith(await takeSecret(page))).body).to.have.nested.property('tenant.id', tenant.id);
      await loaded;
      expect((await world.server.admin.delete(`/api/v1/admin/tenants/${tenant.id}`)).status).to.equal(204);

      await page.goto('/console/tenants?status=deleted');
      await page.getByRole('button', { name: 'Purge Doomed' }).click();
      await page.getByLabel('Type “Doomed” to confirm').fill('Doomed');
      await confirm(page, 'Purge Doomed', 'Purge');
      await gone(page.getByRole('row').filter({ hasText: 'Doomed' }));
    });
    expect(
      (await world.server.admin.post(`/api/v1/admin/tenants/${tenant.id}/undelete`, {})).status,
    ).to.equal(404);
  });

  it('seal a provider key, of which only the last four letters are seen again', async () => {
    const { id } = await world.tenant();
    await world.visit(`/tenants/${id}?tab=providers`, { as: world.operator() }, async (page) => {
      await page.getByRole('button', { name: 'Give a key' }).click();
      await dialog(page, 'Key at a provider').getByLabel('API key').fill('sk-of-the-tenant-9876');
      await confirm(page, 'Key at a provider', 'Seal it');
      await shown(page.getByRole('cell', { name: '…9876' }));
      await page.reload();
      await shown(page.getByRole('cell', { name: '…9876' }));
      expect(await page.content()).to.not.include('sk-of-the-tenant');
    });
  });

  it('come back from a tenant to the page of the list that it was on, also after a reload', async () => {
    for (let count = 0; count < 27; count += 1) await world.tenant(`Paged ${String(count).padStart(2, '0')}`);
    await world.visit('/tenants?q=Paged&order=name', { as: world.operator() }, async (page) => {
      const names = page.getByRole('region', { name: 'Tenants' }).getByRole('link');
      const isOnSecond = async (): Promise<void> => {
        await shown(page.getByText('Page 2'));
        await shown(names.filter({ hasText: 'Paged 26' }));
        expect(await names.allInnerTexts()).to.deep.equal(['Paged 25', 'Paged 26']);
      };
      await page.getByRole('button', { name: 'Next' }).click();
      await isOnSecond();
      await names.last().click();
      await shown(page.getByRole('heading', { level: 1, name: 'Paged 26' }));
      await page.goBack();
      await isOnSecond();
      await page.reload();
      await isOnSecond();
      await page.goBack();
      await shown(names.filter({ hasText: 'Paged 00' }));
    });
  });

  it('find a tenant among many, with the search in the address', async () => {
    for (const name of ['Blue Whale', 'Blue Jay', 'Red Fox']) await world.tenant(name);
    await world.visit('/tenants', { as: world.operator() }, async (page) => {
      await page.getByRole('searchbox', { name: 'Name' }).fill('blue');
      await page.getByLabel('Order').selectOption('name');
      await page.waitForURL(
        (url) => url.search === '?q=blue&order=name' || url.search === '?order=name&q=blue',
      );
      const names = page.getByRole('region', { name: 'Tenants' }).getByRole('link');
      await gone(names.filter({ hasText: 'Red Fox' }));
      expect(await names.allInnerTexts()).to.deep.equal(['Blue Jay', 'Blue Whale']);
      await page.reload();
      await shown(names.first());
      expect(await names.allInnerTexts()).to.deep.equal(['Blue Jay', 'Blue Whale']);
      expect(await page.getByRole('searchbox', { name: 'Name' }).inputValue()).to.equal('blue');
    });
  });
});
