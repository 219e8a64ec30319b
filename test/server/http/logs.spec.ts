import { expect } from 'chai';
import { cli } from '../../support/cli.ts';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';
import { ManualClock } from '../../support/tenants.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const rows = (body: Json): Json[] => body.data as Json[];

describe('logs over HTTP', () => {
  let server: TestServer;
  let clock: ManualClock;
  let tenant: TestTenant;
  let configId: string;

  const start = async (env: Record<string, string> = {}) => {
    clock = new ManualClock(Date.UTC(2026, 0, 15, 12));
    server = await startTestServer({ clock, env });
    tenant = await server.createTenant();
    configId = await server.createConfig(tenant.client);
  };
  afterEach(() => server.stop());

  const chat = async (client = tenant.client): Promise<void> => {
    const { status, text } = await client.chat(configId, { message: 'Hello' });
    expect(status, text).to.equal(200);
  };
  const logs = async (query = ''): Promise<Json[]> =>
    rows((await tenant.client.get(`/api/v1/logs${query}`)).body);
  const usageDays = async (query = ''): Promise<unknown[]> =>
    rows((await tenant.client.get(`/api/v1/usage${query}`)).body).map(({ day, turns }) => [day, turns]);
  /** Waits for what goes on by itself after a turn. */
  const until = async (fits: () => Promise<boolean>): Promise<void> => {
    while (!(await fits())) await new Promise((resolve) => setImmediate(resolve));
  };

  it('gives one row, with what was said where the tenant keeps it', async () => {
    await start();
    await chat();
    const [row] = await logs();
    const path = `/api/v1/logs/${String(row?.id)}`;
    expect((await tenant.client.get(path)).body).to.deep.equal({ ...row, content: null });

    const kept = await server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, {
      settings: { log_content: true },
    });
    expect(kept.status).to.equal(200);
    await chat();
    const [newest] = await logs();
    const { body } = await tenant.client.get(`/api/v1/logs/${String(newest?.id)}`);
    expect(body.content).to.be.an('object');
    expect((body.content as Json).input).to.include('Hello');
    expect((body.content as Json).output)
      .to.be.a('string')
      .and.not.equal('');
    expect(newest).not.to.have.property('content');
  });

  it("answers another tenant's row as one that never was, and needs the scope", async () => {
    await start();
    await chat();
    const [row] = await logs();
    const other = await server.createTenant({ name: 'Other' });
    const paths = [`/api/v1/logs/${String(row?.id)}`, `/api/v1/logs/${tenant.id}`, '/api/v1/logs/nothing'];
    const answers = await Promise.all(paths.map((path) => other.client.get(path)));
    for (const { status, body } of answers) {
      expect(status).to.equal(404);
      expect({ ...body, request_id: null }).to.deep.equal({ ...answers[0]?.body, request_id: null });
    }
    const key = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, {
      name: 'chat',
      scopes: ['chat'],
    });
    const refused = await server.tenant(String(key.body.api_key)).get(paths[0] ?? '');
    expect([refused.status, refused.body.code]).to.deep.equal([403, 'insufficient_scope']);
  });

  it('removes rows that are older than LOG_DAYS, and keeps the usage', async () => {
    await start({ LOG_DAYS: '2' });
    for (let day = 0; day < 4; day += 1) {
      await chat();
      clock.advance(DAY_MS);
    }
    await chat();
    await until(async () => (await logs()).length === 3);
    expect((await logs()).map(({ created_at }) => String(created_at).slice(0, 10))).to.deep.equal([
      '2026-01-19',
      '2026-01-18',
      '2026-01-17',
    ]);
    expect(await usageDays()).to.deep.equal([19, 18, 17, 16, 15].map((day) => [`2026-01-${day}`, 1]));
    // A part of a day is summed from its rows, and so only while they are kept.
    expect(await usageDays('?since=2026-01-15T13:00:00Z')).to.have.length(4);
    expect(await usageDays('?since=2026-01-17T11:00:00Z&until=2026-01-18T12:00:00Z')).to.deep.equal([
      ['2026-01-17', 1],
    ]);
  });

  it('removes rows of one tenant or of all when the operator asks, and says how far it is', async () => {
    await start();
    await chat();
    const other = await server.createTenant({ name: 'Other' });
    const otherConfig = await server.createConfig(other.client);
    await other.client.chat(otherConfig, { message: 'Hello' });
    clock.advance(10 * DAY_MS);

    const prune = async (body: Json) => {
      const { text } = await server.fetch('/api/v1/admin/logs/prune', {
        method: 'POST',
        headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
      return [...text.matchAll(/^event: (\w+)\ndata: (.*)$/gm)].map(([, event, data]) => ({
        event,
        data: JSON.parse(data ?? '') as Json,
      }));
    };
    const events = await prune({ tenant_id: tenant.id, days: 3 });
    expect(events[0]).to.deep.equal({ event: 'progress', data: { done: 0, total: 1, removed: 0 } });
    expect(events.at(-1)).to.deep.equal({ event: 'done', data: { tenants: 1, removed: 1, failed: [] } });
    expect(await logs()).to.deep.equal([]);
    // The demo's tenant is one of them; LOG_DAYS is 90.
    expect((await prune({})).at(-1)?.data).to.include({ tenants: 3, removed: 0 });
    expect((await prune({ days: 9 })).at(-1)?.data).to.include({ tenants: 3, removed: 1 });

    const post = (body: Json) => server.admin.post('/api/v1/admin/logs/prune', body);
    expect((await post({ tenant_id: configId })).status).to.equal(404);
    expect((await post({ days: 0 })).status).to.equal(422);
    expect((await tenant.client.post('/api/v1/admin/logs/prune', {})).status).to.equal(401);
    const audited = rows((await server.admin.get('/api/v1/admin/audit?action=logs.prune')).body);
    expect(audited.map(({ changes }) => changes)).to.deep.equal([
      { state: 'done', removed: 1 },
      { state: 'begun', days: 9 },
      { state: 'done', removed: 0 },
      { state: 'begun', days: 90 },
      { state: 'done', removed: 1 },
      { state: 'begun', days: 3 },
    ]);
  });

  it('prunes from the command line, where a server runs and where none does', async () => {
    await start();
    await chat();
    clock.advance(10 * DAY_MS);
    const env = { DATA_DIR: server.dataDir, ADMIN_TOKEN: server.adminToken };
    const told = await cli(['logs', 'prune', '--tenant', 'Acme', '--days', '3'], { env });
    expect([told.code, told.stdout]).to.deep.equal([0, '1 row of 1 tenant removed.\n']);
    const json = await cli(['logs', 'prune', '--json'], { env });
    expect(json.json).to.deep.equal({ tenants: 2, removed: 0, failed: [] });
    expect((await cli(['logs', 'prune', '--tenant', 'Nobody'], { env })).code).to.equal(3);
    expect((await cli(['logs', 'prune', '--days', '0'], { env })).code).to.equal(2);

    await chat();
    await server.close();
    const alone = await cli(['logs', 'prune', '--days', '1', '--json'], {
      env: { DATA_DIR: server.dataDir },
    });
    expect(alone.json, alone.stderr).to.deep.equal({ tenants: 2, removed: 1, failed: [] });
    const unsaid = await cli(['logs', 'prune'], { env: { DATA_DIR: server.dataDir, LOG_DAYS: '1' } });
    // The settings of a shell are not those of the server.
    expect(unsaid.code).to.equal(2);
    expect(unsaid.stderr).to.include('days');
  });

  it('refuses to guess how much to keep where LOG_DAYS is 0', async () => {
    await start({ LOG_DAYS: '0' });
    const { status, body } = await server.admin.post('/api/v1/admin/logs/prune', {});
    expect(status).to.equal(422);
    expect((body.errors as Json[])[0]?.path).to.equal('days');
  });
});
