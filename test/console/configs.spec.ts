import { expect } from 'chai';
import type { Page } from 'playwright-core';
import { BROWSER_TIMEOUT_MS, createWorld, gone, shown } from './support.ts';

describe("the tenant's configs in the console", function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();
  const prompt = (page: Page) => page.getByRole('textbox', { name: 'System prompt' });
  const save = (page: Page) => page.getByRole('button', { name: 'Save' });

  it('show the prompt as the model will get it while it is typed, and save it as the next version', async () => {
    const tenant = await world.tenant('Söhne & Co');
    const id = await world.config(tenant, { name: 'Editor' });
    await world.visit(`/configs/${id}`, { as: tenant.secret }, async (page) => {
      await prompt(page).fill('You are {agent_name} of {tenant_name}, plan {plan}, {"not": "one"}.');
      await shown(page.getByText('You are Editor of Söhne & Co, plan {plan}, {"not": "one"}.'));
      await page.getByLabel('{plan}').fill('pro');
      await shown(page.getByText('You are Editor of Söhne & Co, plan pro, {"not": "one"}.'));
      await page.getByLabel('Temperature').fill('0.3');
      await save(page).click();
      await shown(page.getByText('Version 2'));
    });
    const { body } = await tenant.client.get(`/api/v1/configs/${id}`);
    expect(body).to.deep.include({
      system_prompt: 'You are {agent_name} of {tenant_name}, plan {plan}, {"not": "one"}.',
      model_config: { provider: 'openai', model: 'gpt-4.1-mini', temperature: 0.3 },
    });
  });

  it("refuse a tool whose schema is none, before the server is asked, and show the server's own faults at their fields", async () => {
    const tenant = await world.tenant();
    const id = await world.config(tenant);
    const faults = [/^409 PATCH \/api\/v1\/configs\//];
    await world.config(tenant, { name: 'Taken' });
    await world.visit(`/configs/${id}`, { as: tenant.secret, faults }, async (page) => {
      await page.getByRole('button', { name: 'Add a tool' }).click();
      await page.getByLabel('Tool name').fill('write_file');
      const schema = page.getByLabel('Arguments, as JSON Schema');
      await schema.fill('{"type": "object", "properties": ');
      expect(await save(page).isDisabled()).to.equal(true);
      await schema.fill('{"type": "strange"}');
      expect(await save(page).isDisabled()).to.equal(true);
      await schema.fill('{"type": "object"}');
      await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Taken');
      await save(page).click();
      await shown(page.getByRole('alert').getByRole('button', { name: /^Request / }));
      expect(await page.getByLabel('Tool name').inputValue()).to.equal('write_file');
      await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Free');
      await save(page).click();
      await shown(page.getByRole('heading', { level: 1, name: 'Free' }));
    });
    const { body } = await tenant.client.get(`/api/v1/configs/${id}`);
    expect(body.tools_config).to.have.nested.property('[0].name', 'write_file');
  });

  it('ask for the model of another provider once that is chosen', async () => {
    const tenant = await world.tenant();
    await world.visit('/configs/new', { as: tenant.secret }, async (page) => {
      const model = page.getByRole('textbox', { name: 'Model' });
      const provider = page.getByLabel('Provider');
      expect(await model.inputValue()).to.equal('demo');
      await provider.selectOption('openai');
      expect(await model.inputValue()).to.equal('');
      expect(await page.getByRole('button', { name: 'Make it' }).isDisabled()).to.equal(true);
      await model.fill('my-own-model');
      await provider.selectOption('openrouter');
      expect(await model.inputValue()).to.equal('my-own-model');
    });
  });

  it('compare versions and roll back to one, as a new version', async () => {
    const tenant = await world.tenant();
    const id = await world.config(tenant, { system_prompt: 'First words.' });
    await tenant.client.patch(`/api/v1/configs/${id}`, { system_prompt: 'Second words.' });
    await world.visit(`/configs/${id}?tab=versions`, { as: tenant.secret }, async (page) => {
      await page.getByRole('button', { name: 'Compare version 1' }).click();
      const differences = page.getByRole('region', { name: 'Differences' });
      expect(await differences.innerText()).to.match(
        /removed:\s*First words\.[\s\S]*added:\s*Second words\./,
      );
      await page.getByRole('button', { name: 'Roll back to version 1' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Roll back', exact: true }).click();
      await shown(page.getByText('Version 3'));
      await page.getByRole('tab', { name: 'Edit' }).click();
      expect(await prompt(page).inputValue()).to.equal('First words.');
    });
  });

  it('ask before a form with changes is left', async () => {
    const tenant = await world.tenant();
    const id = await world.config(tenant);
    await world.visit(`/configs/${id}`, { as: tenant.secret }, async (page) => {
      await prompt(page).fill('Not saved yet.');
      await page.getByRole('link', { name: 'Logs' }).click();
      const dialog = page.getByRole('dialog', { name: 'Leave without saving?' });
      await dialog.getByRole('button', { name: 'Stay' }).click();
      await gone(dialog);
      expect(await prompt(page).inputValue()).to.equal('Not saved yet.');
      await page.getByRole('link', { name: 'Logs' }).click();
      await dialog.getByRole('button', { name: 'Leave' }).click();
      await shown(page.getByRole('heading', { level: 1, name: 'Logs' }));
    });
  });

  it('delete a config, whose conversations can still be read', async () => {
    const tenant = await world.tenant();
    const id = await world.config(tenant, { name: 'Short-lived' });
    const { body } = await tenant.client.chat(id, { message: 'Remember me' });
    await world.visit(`/configs/${id}`, { as: tenant.secret }, async (page) => {
      await page.getByRole('button', { name: 'Delete' }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
      await shown(page.getByText('No configs yet'));
      await page.goto(`/console/conversations/${body.conversation_id}`);
      await shown(page.getByText('Remember me'));
      await shown(page.getByText('Its config is deleted'));
      expect(await page.getByRole('link', { name: 'Continue' }).count()).to.equal(0);
    });
  });
});
