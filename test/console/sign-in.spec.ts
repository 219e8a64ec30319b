import { expect } from 'chai';
import { BROWSER_TIMEOUT_MS, createWorld, shown, signIn } from './support.ts';

describe('the sign-in of the console', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();

  it('takes an admin token or an API key, and keeps neither in the browser', async () => {
    const tenant = await world.tenant();
    const secrets = [
      [world.server.adminToken, '/console/overview'],
      [tenant.apiKey, '/console/playground'],
    ] as const;
    for (const [secret, home] of secrets) {
      await world.visit('/', {}, async (page) => {
        await signIn(page, secret);
        await page.waitForURL((url) => url.pathname === home);
        const kept = await page.evaluate('JSON.stringify([localStorage, sessionStorage, document.cookie])');
        expect(kept).to.not.include(secret);
      });
    }
  });

  it('says that a secret is wrong, and leaves it in its field', async () => {
    await world.visit('/', { faults: [/^401 POST \/console\/session$/] }, async (page) => {
      await signIn(page, 'not-a-token-of-anybody');
      await shown(page.getByRole('alert'));
      expect(await page.getByLabel('Admin token or API key').inputValue()).to.equal('not-a-token-of-anybody');
    });
  });

  it('leads to the address that was asked for', async () => {
    const { id } = await world.tenant('Deep');
    await world.visit(`/tenants/${id}?tab=limits`, {}, async (page) => {
      await signIn(page, world.server.adminToken);
      await shown(page.getByRole('heading', { level: 1, name: 'Deep' }));
      expect(await page.getByRole('tab', { name: 'Limits' }).getAttribute('aria-selected')).to.equal('true');
    });
  });

  it('signs out here, and everywhere: the other page asks to sign in again', async () => {
    const as = world.operator();
    await world.visit('/fleet', { as, faults: [/^401 GET/] }, async (left) => {
      await shown(left.getByRole('heading', { level: 1, name: 'Fleet' }));
      await world.visit('/', { as, faults: [/^401 GET/] }, async (page) => {
        await page.getByRole('button', { name: 'Signed in as admin' }).click();
        await page.getByRole('button', { name: 'Sign out everywhere' }).click();
        await shown(page.getByRole('heading', { name: 'Sign in' }));
        expect(await page.evaluate("fetch('/api/v1/admin/stats').then(({ status }) => status)")).to.equal(
          401,
        );
      });
      await left.getByRole('link', { name: 'Audit' }).click();
      await shown(left.getByRole('dialog', { name: 'Your session has ended' }));
    });
  });
});
