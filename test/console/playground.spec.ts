import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import type { Page } from 'playwright-core';
import { createGate } from '../support/upstream.ts';
import { BROWSER_TIMEOUT_MS, createWorld, gone, shown } from './support.ts';

/** What a shell makes of a curl command. */
const argumentsOf = (command: string, env: Record<string, string>): string[] =>
  execFileSync('sh', ['-c', `curl() { printf '%s\\0' "$@"; }\n${command}`], { env, encoding: 'utf8' })
    .split('\0')
    .slice(0, -1);

describe('the playground', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();
  const permissions = ['clipboard-read', 'clipboard-write'];

  /** A tenant with one config, at its playground. */
  async function play(
    content: Record<string, unknown>,
    script: (page: Page) => Promise<void>,
    faults: RegExp[] = [],
  ) {
    const tenant = await world.tenant();
    const config = await world.config(tenant, content);
    await world.visit(`/playground?config=${config}`, { as: tenant.secret, permissions, faults }, script);
    return tenant;
  }
  const say = async (page: Page, message: string): Promise<void> => {
    await page.getByRole('textbox', { name: 'Message' }).fill(message);
    await page.keyboard.press('Enter');
  };
  const answers = (page: Page) => page.getByRole('article', { name: 'Assistant' });
  const figures = (page: Page) => page.getByText(/^gpt-4.1-mini · /);
  const asked = () => world.upstream.requests.length;
  /** What the model was told in the request of this number. */
  function toldIn(request: number): { role: string; content: string }[] {
    const { messages } = world.upstream.requests[request]?.body ?? {};
    return Array.isArray(messages) ? messages : [];
  }

  it('streams an answer word by word, and says then what it took', async () => {
    const hold = createGate();
    world.upstream.script({ text: ['One ', 'two ', 'three'], hold, usage: { input: 1000, output: 500 } });
    await play({}, async (page) => {
      await say(page, 'Count');
      hold.release();
      await shown(answers(page).getByText('One', { exact: true }));
      hold.release();
      await shown(answers(page).getByText('One two', { exact: true }));
      hold.open();
      await shown(answers(page).getByText('One two three', { exact: true }));
      await shown(figures(page));
      expect(await figures(page).innerText()).to.match(
        /^gpt-4.1-mini · 1,000 tokens in, 500 out · \$0\.0012 · first token .+ · total .+$/,
      );
    });
  });

  it('shows a tool call, and goes on with the result that is given', async () => {
    world.upstream.script(
      { toolCalls: [{ name: 'get_order', arguments: { number: 4711 } }] },
      { text: 'It is on its way.' },
    );
    const before = asked();
    await play({ tools_config: ['get_order'] }, async (page) => {
      await say(page, 'Where is my order?');
      expect(await page.getByLabel('Arguments of get_order').innerText()).to.contain('"number": 4711');
      await page.getByLabel('Result of get_order').fill('{"status": "shipped"}');
      await page.getByRole('button', { name: 'Send results' }).click();
      await shown(answers(page).getByText('It is on its way.'));
      const messages = toldIn(before + 1);
      expect(messages.at(-1)).to.include({ role: 'tool', content: '{"status": "shipped"}' });
      // As it is kept, not only as it was just said.
      await page.reload();
      await shown(answers(page).getByText('It is on its way.'));
      await shown(page.getByRole('article', { name: 'Tool' }).getByText('{"status": "shipped"}'));
    });
  });

  it('stops an answer at once, keeps what has come of it, and can go on', async () => {
    world.upstream.script({ text: ['Once upon ', 'a time'], hangAfter: 1 }, { text: 'The end.' });
    const before = asked();
    const tenant = await play({}, async (page) => {
      await say(page, 'Tell me a story');
      await shown(answers(page).getByText('Once upon'));
      await page.getByRole('button', { name: 'Stop' }).click();
      await world.upstream.aborted(1);
      await shown(page.getByText('stopped before its end'));
      await say(page, 'How does it end?');
      await shown(answers(page).getByText('The end.'));
      const messages = toldIn(before + 1);
      expect(messages.map(({ content }) => content)).to.include('Tell me a story');
    });
    const { body } = await tenant.client.get('/api/v1/logs');
    expect((body.data as { status: string }[]).map(({ status }) => status)).to.deep.equal(['ok', 'aborted']);
  });

  it('shows a failure with its request id, and tries again in its place', async () => {
    world.upstream.script(
      { text: ['Half an '], errorEvent: { after: 1, type: 'server_error', message: 'Oh.' } },
      { text: 'A whole answer.' },
    );
    await play({}, async (page) => {
      await say(page, 'Please answer');
      await shown(page.getByRole('alert').getByRole('button', { name: /^Request / }));
      await page.getByRole('button', { name: 'Try again' }).click();
      await shown(answers(page).getByText('A whole answer.'));
      await gone(page.getByRole('alert'));
      expect(await page.getByRole('article', { name: 'User' }).allInnerTexts()).to.have.length(1);
    });
  });

  it('keeps the message of a turn that was refused before it began', async () => {
    const tenant = await world.tenant();
    const config = await world.config(tenant);
    await world.server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, {
      limits: { requests_per_minute: 0 },
    });
    const faults = [/^429 POST \/api\/v1\/chat\//];
    await world.visit(`/playground?config=${config}`, { as: tenant.secret, faults }, async (page) => {
      await say(page, 'A long message that nobody wants to type twice');
      await shown(page.getByRole('alert'));
      await shown(page.getByText('A long message that nobody wants to type twice'));
      await shown(page.getByRole('button', { name: 'Try again' }));
    });
  });

  it("fills the prompt's variables in, and gives the turn as code that can be pasted", async () => {
    const before = asked();
    await play({ system_prompt: 'The customer is on the {plan} plan.' }, async (page) => {
      await page.getByLabel('{plan}').fill('pro');
      await say(page, "It's 5 o'clock");
      await shown(figures(page));
      const messages = toldIn(before);
      expect(messages[0]?.content).to.equal('The customer is on the pro plan.');

      await page.getByRole('button', { name: 'Copy as code' }).click();
      await page.getByRole('button', { name: 'Copy as curl' }).click();
      await shown(page.getByRole('button', { name: 'Copied' }));
      const curl = String(await page.evaluate('navigator.clipboard.readText()'));
      const sent = argumentsOf(curl, { NIMBLESITE_API_KEY: 'nbs_key' });
      expect(sent.join(' ')).to.match(/^-sS -N http:\/\/[\w.:]+\/api\/v1\/chat\/[\w-]+ /);
      expect(sent).to.include('X-API-Key: nbs_key');
      expect(JSON.parse(sent.at(-1) ?? '')).to.deep.include({
        message: "It's 5 o'clock",
        template_vars: { plan: 'pro' },
      });
      await page.getByRole('tab', { name: 'TypeScript' }).click();
      expect(await page.getByLabel('The turn as TypeScript').innerText()).to.include('fetch(');
    });
  });

  it('goes on with a conversation from its address', async () => {
    await play({}, async (page) => {
      world.upstream.script({ text: 'First answer.' }, { text: 'Second answer.' });
      await say(page, 'First question');
      await shown(answers(page).getByText('First answer.'));
      await page.waitForURL((url) => url.searchParams.has('conversation'));
      await page.reload();
      await shown(answers(page).getByText('First answer.'));
      await say(page, 'Second question');
      await shown(answers(page).getByText('Second answer.'));
      expect(await page.getByRole('article').count()).to.equal(4);
    });
  });

  it('shows a conversation that is continued from its end', async () => {
    const tenant = await world.tenant();
    const config = await world.config(tenant);
    world.upstream.script({ text: 'One more line of it.\n'.repeat(80) });
    const { body } = await tenant.client.chat(config, { message: 'Tell me all' });
    const path = `/playground?conversation=${body.conversation_id}`;
    const viewport = { width: 1280, height: 720 };
    await world.visit(path, { as: tenant.secret, viewport }, async (page) => {
      await shown(answers(page));
      const field = await page.getByRole('textbox', { name: 'Message' }).boundingBox();
      expect(field?.y).to.be.within(0, viewport.height);
    });
  });
});
