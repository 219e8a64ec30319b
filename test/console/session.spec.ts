import { expect } from 'chai';
import { systemClock } from '../../tenant-schema/clock.ts';
import { BROWSER_TIMEOUT_MS, createWorld, gone, shown, signIn } from './support.ts';

const IDLE_MS = 60_000;

describe('a page of the console that stays open', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  let aheadMs = 0;
  const world = createWorld({
    env: { CONSOLE_IDLE_SECONDS: String(IDLE_MS / 1000) },
    clock: {
      now: () => systemClock.now() + aheadMs,
      monotonic: () => systemClock.monotonic() + aheadMs,
    },
  });

  it('asks to sign in again when its session has ended, and loses nothing that was typed', async () => {
    const { id } = await world.tenant();
    const faults = [/^401 PATCH \/api\/v1\/admin\/tenants\//];
    await world.visit(`/tenants/${id}?tab=limits`, { as: world.operator(), faults }, async (page) => {
      const field = page.getByLabel('Turns a minute', { exact: true });
      await field.fill('77');
      aheadMs += IDLE_MS + 1;
      await page.getByRole('button', { name: 'Save' }).click();
      const dialog = page.getByRole('dialog', { name: 'Your session has ended' });
      await shown(dialog);
      await signIn(page, world.server.adminToken);
      await gone(dialog);
      expect(new URL(page.url()).search).to.equal('?tab=limits');
      expect(await field.inputValue()).to.equal('77');
      await page.getByRole('button', { name: 'Save' }).click();
      await shown(page.getByText('The limits hold from the next request on.'));
    });
    const { body } = await world.server.admin.get(`/api/v1/admin/tenants/${id}`);
    expect(body.limits).to.deep.include({ requests_per_minute: 77 });
  });

  it('can be left for the sign-in when its session has ended', async () => {
    await world.visit('/overview', { as: world.operator(), faults: [/^401 /] }, async (page) => {
      await shown(page.getByRole('heading', { level: 1, name: 'Overview' }));
      aheadMs += IDLE_MS + 1;
      await page.getByRole('link', { name: 'Fleet' }).click();
      await page.getByRole('button', { name: 'Leave instead' }).click();
      await shown(page.getByRole('heading', { level: 1, name: 'Sign in' }));
    });
  });

  it('says that the server is away, and goes on when it is back, signed in as before', async () => {
    const { id } = await world.tenant('Still here');
    const faults = [/^failed (GET|PATCH) .* net::ERR_CONNECTION_REFUSED$/];
    await world.visit(`/tenants/${id}?tab=settings`, { as: world.operator(), faults }, async (page) => {
      const name = page.getByRole('textbox', { name: 'Name' });
      await name.fill('Renamed meanwhile');
      await world.stopServer();
      await page.getByRole('button', { name: 'Rename' }).click();
      await shown(page.getByText('The server cannot be reached'));
      await world.startServer();
      expect(await name.inputValue()).to.equal('Renamed meanwhile');
      await page.getByRole('button', { name: 'Rename' }).click();
      await shown(page.getByRole('heading', { level: 1, name: 'Renamed meanwhile' }));
      await gone(page.getByText('The server cannot be reached'));
    });
  });

  it('shows a broken answer with its request id and can try again', async () => {
    await world.visit(
      '/',
      { as: world.operator(), faults: [/^500 GET \/api\/v1\/admin\/fleet$/] },
      async (page) => {
        await page.route('**/api/v1/admin/fleet', (route) =>
          route.fulfill({
            status: 500,
            contentType: 'application/problem+json',
            body: JSON.stringify({
              title: 'Broken',
              status: 500,
              code: 'internal',
              detail: 'Oh.',
              request_id: 'r-77',
            }),
          }),
        );
        await page.getByRole('link', { name: 'Fleet' }).click();
        await shown(page.getByRole('button', { name: 'Request r-77' }));
        await page.unroute('**/api/v1/admin/fleet');
        await page.getByRole('button', { name: 'Try again' }).click();
        await shown(page.getByText('Latest schema'));
        await gone(page.getByRole('alert'));
      },
    );
  });
});
