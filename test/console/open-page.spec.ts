import { expect } from 'chai';
import type { Page } from 'playwright-core';
import { systemClock } from '../../tenant-schema/clock.ts';
import { BROWSER_TIMEOUT_MS, createWorld, gone, type Secret, shown, signIn } from './support.ts';

const IDLE_MS = 60_000;

describe('a page of the console, open for a while', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  let aheadMs = 0;
  const world = createWorld({
    env: { CONSOLE_IDLE_SECONDS: String(IDLE_MS / 1000) },
    clock: {
      now: () => systemClock.now() + aheadMs,
      monotonic: () => systemClock.monotonic() + aheadMs,
    },
  });
  const ended = (page: Page) => page.getByRole('dialog', { name: 'Your session has ended' });
  const message = (page: Page) => page.getByRole('textbox', { name: 'Message' });

  /** What was loaded a while ago is loaded again, as when the reader comes back to the window. */
  const comeBack = (page: Page) =>
    page.evaluate(`{
      const later = Date.now() + 60_000;
      Date.now = () => later;
      dispatchEvent(new Event('visibilitychange'));
    }`);
  /** Signs in by a page that has nothing of the console's in it, and so tells no other window. */
  const replaceSession = (page: Page, secret: Secret) =>
    page.evaluate(async (body) => {
      await fetch('/console/session', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
    }, secret);

  it('keeps a conversation and what is being typed when something fails to load again', async () => {
    const tenant = await world.tenant();
    const config = await world.config(tenant);
    world.upstream.script({ text: 'Hello yourself' });
    const options = { as: tenant.secret, faults: [/^401 GET \/api\/v1\/configs/] };
    await world.visit(`/playground?config=${config}`, options, async (page) => {
      await message(page).fill('Hello');
      await page.keyboard.press('Enter');
      await shown(page.getByText('Hello yourself'));
      await message(page).fill('Half a thought');
      aheadMs += IDLE_MS + 1;
      await comeBack(page);
      await shown(ended(page));
      await signIn(page, tenant.apiKey);
      await gone(ended(page));
      await shown(page.getByText('Hello yourself'));
      expect(await message(page).inputValue()).to.equal('Half a thought');
    });
  });

  it('shows nothing of somebody else who has signed in meanwhile', async () => {
    const [own, other] = [await world.tenant('Own'), await world.tenant('Other')];
    await world.config(own, { name: 'OWN-CONFIG' });
    await world.config(other, { name: 'OTHER-CONFIG' });
    const options = { as: own.secret, faults: [/^403 GET /] };
    await world.visit('/configs', options, async (page) => {
      await shown(page.getByText('OWN-CONFIG'));
      await replaceSession(page, other.secret);
      await comeBack(page);
      await shown(ended(page));
      expect(await page.getByText('OTHER-CONFIG').count()).to.equal(0);
      await page.getByRole('button', { name: 'Leave instead' }).click();
      await shown(page.getByText('OTHER-CONFIG'));
      expect(await page.getByText('OWN-CONFIG').count()).to.equal(0);
    });
  });

  it('hears of it from a window of the console itself', async () => {
    const [own, other] = [await world.tenant('Own'), await world.tenant('Other')];
    const options = { as: own.secret, faults: [/^401 GET \/console\/session$/] };
    await world.visit('/keys', options, async (page) => {
      await shown(page.getByRole('heading', { level: 1, name: 'Keys' }));
      const second = await page.context().newPage();
      await second.goto('/console/keys');
      await second.getByRole('button', { name: 'Signed in as default' }).click();
      await second.getByRole('button', { name: 'Sign out', exact: true }).click();
      await signIn(second, other.apiKey);
      await shown(second.getByText('Other'));
      await shown(ended(page));
    });
  });

  it('goes on where the same one has signed in again in another window', async () => {
    const tenant = await world.tenant();
    const options = { as: tenant.secret, faults: [/^403 GET \/api\/v1\/keys/] };
    await world.visit('/keys', options, async (page) => {
      await shown(page.getByRole('button', { name: 'Rotate default' }));
      await page.getByRole('button', { name: 'New key' }).click();
      await page.getByRole('textbox', { name: 'Name' }).fill('kept');
      await replaceSession(page, tenant.secret);
      const read = page.waitForResponse('**/console/session');
      await comeBack(page);
      expect((await read).status()).to.equal(200);
      await page.getByRole('button', { name: 'Make it' }).click();
      await shown(page.getByTestId('secret'));
      expect(await ended(page).count()).to.equal(0);
    });
  });

  it('shows in a dialog what was refused since it was opened, and nothing older', async () => {
    const tenant = await world.tenant();
    const make = (name: string) => tenant.client.post('/api/v1/keys', { name });
    expect([(await make('first')).status, (await make('second')).status]).to.deep.equal([201, 201]);
    const options = { as: tenant.secret, faults: [/^500 DELETE \/api\/v1\/keys\//] };
    await world.visit('/keys', options, async (page) => {
      await page.route('**/api/v1/keys/*', (route) => route.fulfill({ status: 500, body: '' }), { times: 1 });
      const revoke = async (name: string) => {
        await page.getByRole('button', { name: `Revoke ${name}` }).click();
        await shown(page.getByRole('dialog', { name: `Revoke ${name}` }));
      };
      const confirm = page.getByRole('button', { name: 'Revoke', exact: true });
      await revoke('first');
      await confirm.click();
      await shown(page.getByRole('alert'));
      await page.getByRole('button', { name: 'Cancel' }).click();
      await gone(page.getByRole('dialog'));
      await revoke('second');
      expect(await page.getByRole('alert').count()).to.equal(0);
      await confirm.click();
      await shown(page.getByText('The key is refused from now on.'));
    });
  });

  it('of a tenant that is suspended leads to a sign-in as somebody else', async () => {
    const tenant = await world.tenant('Late payer');
    const options = { as: tenant.secret, faults: [/^403 GET \/console\/session$/] };
    await world.visit('/usage', options, async (page) => {
      await shown(page.getByRole('heading', { level: 1, name: 'Usage' }));
      const path = `/api/v1/admin/tenants/${tenant.id}`;
      expect((await world.server.admin.patch(path, { status: 'suspended' })).status).to.equal(200);
      await page.reload();
      await shown(page.getByText('This tenant is suspended.'));
      await page.getByRole('button', { name: 'Sign in as somebody else' }).click();
      await signIn(page, world.server.adminToken);
      await shown(page.getByRole('link', { name: 'Fleet' }));
    });
  });
});
