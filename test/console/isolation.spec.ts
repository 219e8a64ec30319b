import { expect } from 'chai';
import { allEndpoints } from '../../server/endpoints/index.ts';
import type { Json, TestTenant } from '../support/http.ts';
import { settled } from './pages.ts';
import { BROWSER_TIMEOUT_MS, createWorld, shown } from './support.ts';

const MARK = 'Only-Of-The-Other';

describe('a tenant who is signed in to the console', function () {
  this.timeout(BROWSER_TIMEOUT_MS);
  const world = createWorld();
  let other: TestTenant;
  /** What the other tenant has, by the name of the parameter that takes it. */
  let ids: Record<string, string[]>;

  before(async () => {
    other = await world.tenant(MARK);
    const config = await world.config(other, { name: MARK, system_prompt: MARK });
    const { body: answer } = await other.client.chat(config, { message: MARK, user: MARK });
    const { body: logs } = await other.client.get('/api/v1/logs');
    await other.client.put('/api/v1/providers/openai', { api_key: `sk-${MARK}` });
    const { body: backup } = await world.server.admin.post(`/api/v1/admin/tenants/${other.id}/backups`, {});
    const [log] = logs.data as Json[];
    ids = {
      id: [other.id, config, String(answer.conversation_id), String(log?.id)],
      backup_id: [String(backup.id)],
      name: ['openai'],
    };
  });

  /** Every address that a GET of the API has, with all that the other tenant has in its parameters. */
  function addresses(): { path: string; isOwn: boolean }[] {
    return allEndpoints({ metricsPublic: false })
      .filter(({ method }) => method === 'GET')
      .flatMap(({ path, auth }) => {
        let paths = [path];
        for (const [parameter, values] of Object.entries(ids)) {
          paths = paths.flatMap((one) =>
            values.map((value) => one.replace(new RegExp(`:${parameter}\\b`), value)),
          );
        }
        return [...new Set(paths)].map((one) => ({ path: one, isOwn: auth === 'tenant' && one === path }));
      });
  }

  it('gets nothing of another tenant at any address of the API', async () => {
    const { secret } = await world.tenant('Curious');
    const tried = addresses();
    expect(tried.length).to.be.greaterThan(40);
    // Whose it is sees it there, or the test would look for nothing.
    const seen = await Promise.all(
      tried.map(({ path }) =>
        fetch(`${world.server.url}${path}`, { headers: { 'X-API-Key': other.apiKey } }),
      ),
    );
    const texts = await Promise.all(seen.map((response) => response.text()));
    expect(texts.filter((text) => text.includes(MARK)).length).to.be.greaterThan(5);
    await world.visit('/usage', { as: secret, faults: [/^40[134] GET /] }, async (page) => {
      const answers = (await page.evaluate(`
        Promise.all(${JSON.stringify(tried.map(({ path }) => path))}.map(async (path) => {
          const response = await fetch(path);
          return { status: response.status, text: await response.text() };
        }))
      `)) as { status: number; text: string }[];
      for (const [index, { path, isOwn }] of tried.entries()) {
        const { status, text } = answers[index] ?? { status: 0, text: '' };
        expect(text, path).to.not.include(MARK).and.not.include(other.id);
        const isOpen =
          path.startsWith('/healthz') || path.startsWith('/readyz') || path === '/console/session';
        if (!isOwn && !isOpen) expect(status, `${path}: ${text}`).to.be.oneOf([401, 403, 404]);
        if (path.startsWith('/api/v1/') && !path.includes('/admin/') && !isOwn)
          expect(status, path).to.equal(404);
      }
    });
  });

  it('gets nothing of another tenant, and nothing of the operator, at any address of the page', async () => {
    const { secret } = await world.tenant('Curious too');
    const [tenant, config, conversation, log] = ids.id ?? [];
    const paths = [
      `/configs/${config}`,
      `/configs/${config}?tab=versions`,
      `/configs/new?copy=${config}`,
      `/playground?config=${config}`,
      `/playground?conversation=${conversation}`,
      `/conversations/${conversation}`,
      `/conversations?config=${config}`,
      `/logs?log=${log}`,
      `/logs?config=${config}&conversation=${conversation}`,
    ];
    await world.visit(`/conversations/${conversation}`, { as: { api_key: other.apiKey } }, async (page) => {
      await shown(page.getByText(MARK).first());
    });
    const operators = ['/overview', '/tenants', `/tenants/${tenant}?tab=keys`, '/fleet', '/audit'];
    await world.visit(
      '/',
      { as: secret, faults: [/^404 GET \/api\/v1\/(configs|conversations|logs)\//] },
      async (page) => {
        for (const path of [...paths, ...operators]) {
          await page.goto(`/console${path}`);
          await settled(page);
          if (operators.includes(path)) await shown(page.getByText('There is no such page'));
          expect(await page.content(), path).to.not.include(MARK);
        }
      },
    );
  });
});
