import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type ServerProcess, startServerProcess } from '../support/process.ts';
import { BROWSER_TIMEOUT_MS, createWorld, shown, signIn, takeSecret } from './support.ts';

describe('who has just started the server', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();
  let folder: string;
  let server: ServerProcess;
  const printed = (pattern: RegExp): string => pattern.exec(server.output())?.[0] ?? '(not printed)';

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nimblesite-'));
    server = await startServerProcess({ env: { PORT: '0', DATA_DIR: join(folder, 'data') } });
  });
  after(async () => {
    await server?.end('SIGTERM');
    await rm(folder, { recursive: true, force: true });
  });

  it("gets with the demo tenant's key to a reply that streams, and to what it cost", async () => {
    // Not the console's own address: the one that is printed.
    await world.visit('/..', { origin: server.url }, async (page) => {
      await signIn(page, printed(/nbs_\w+/));
      await page.getByRole('textbox', { name: 'Message' }).fill('Hello');
      await page.keyboard.press('Enter');
      const log = page.getByRole('log', { name: 'Conversation' });
      await shown(log.getByRole('article', { name: 'Assistant' }).getByText(/\w+/).last());
      await shown(log.getByText(/tokens in, .* total /));
      await page.getByRole('link', { name: 'Conversations' }).click();
      await page.getByRole('region', { name: 'Conversations' }).getByRole('link', { name: 'Hello' }).click();
      await shown(page.getByRole('article', { name: 'Assistant' }));
    });
  });

  it('gets as the operator to a customer who makes a first agent and talks to it', async () => {
    let key = '';
    await world.visit('/', { origin: server.url }, async (page) => {
      await signIn(page, printed(/nba_\w+/));
      await page.getByRole('link', { name: 'Tenants' }).click();
      await page.getByRole('button', { name: 'New tenant' }).first().click();
      await page.getByRole('dialog').getByLabel('Name').fill('First customer');
      await page.getByRole('button', { name: 'Make it' }).click();
      key = await takeSecret(page);
    });
    await world.visit('/', { origin: server.url }, async (page) => {
      await signIn(page, key);
      await page.getByRole('link', { name: 'Make a config' }).click();
      await page.getByRole('button', { name: 'Make it' }).click();
      await page.getByRole('button', { name: 'Hello!' }).click();
      await shown(page.getByText(/tokens in, .* total /));
      const said = await page.getByRole('article', { name: 'Assistant' }).innerText();
      expect(said.length).to.be.greaterThan(20);
    });
  });
});
