import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import {
  type Json,
  readEvents,
  type StreamEvent,
  startTestServer,
  type TestServer,
} from '../../support/http.ts';

const USAGE = '/api/v1/admin/usage';

describe('the usage of all tenants over HTTP', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await startTestServer();
  });
  afterEach(() => server.stop());

  const rows = async (query = '') => (await server.admin.get(`${USAGE}?${query}`)).body.data as Json[];
  const turnsOf = async (tenantId: string) =>
    (await rows(`group_by=tenant&tenant_id=${tenantId}`)).map(({ turns }) => turns);
  /** A tenant that has taken so many turns. */
  const busy = async (turns: number, name = 'Acme') => {
    const tenant = await server.createTenant({ name });
    const config = await server.createConfig(tenant.client);
    for (let turn = 0; turn < turns; turn += 1) {
      expect((await tenant.client.chat(config, { message: 'Hello' })).status).to.equal(200);
    }
    return tenant;
  };
  const rebuild = async (body: Json): Promise<StreamEvent[]> => {
    const response = await fetch(`${server.url}${USAGE}/rebuild`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${server.adminToken}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status).to.equal(200);
    const events: StreamEvent[] = [];
    if (response.body) for await (const event of readEvents(response.body)) events.push(event);
    return events;
  };
  const forge = (sql: string) => {
    const db = new Database(join(server.dataDir, 'control.db'));
    try {
      db.exec(sql);
    } finally {
      db.close();
    }
  };

  it('is there at the next look, by tenant and day, and says what each tenant is told itself', async () => {
    const acme = await busy(2);
    const globex = await busy(1, 'Globex');
    const own = (await acme.client.get('/api/v1/usage')).body.data as Json[];
    const [day] = own.map((row) => row.day);
    expect(await rows(`tenant_id=${acme.id}`)).to.deep.equal([{ tenant_id: acme.id, ...own[0] }]);
    expect(own[0]).to.include({ turns: 2, errors: 0, cost_usd: 0 });
    expect((await rows()).map((row) => [row.tenant_id, row.day, row.turns])).to.deep.include.members([
      [globex.id, day, 1],
      [acme.id, day, 2],
    ]);
    const [total] = await rows('group_by=day');
    expect(total).to.include({ day, turns: 3 }).and.not.have.property('tenant_id');
    const [first] = await rows(`group_by=tenant&since=${String(day)}`);
    expect(first).to.include({ tenant_id: globex.id, turns: 1 }).and.not.have.property('day');
    expect(await rows(`until=${String(day)}`)).to.deep.equal([]);
    // A day that the range cuts counts whole.
    expect(await rows(`until=${String(day)}T00:00:00.001Z`)).to.have.length(2);
  });

  it('has no cost where the cost of one turn is unknown', async () => {
    const acme = await busy(1);
    await server.admin.get(USAGE);
    forge('UPDATE usage_days SET unpriced_turns = 1, cost_micro_usd = 5');
    expect((await rows(`tenant_id=${acme.id}`))[0]?.cost_usd).to.equal(null);
    expect((await rows('group_by=day'))[0]?.cost_usd).to.equal(null);
    forge('UPDATE usage_days SET unpriced_turns = 0');
    expect((await rows('group_by=day'))[0]?.cost_usd).to.equal(0.000005);
  });

  it('pages as every list does, and refuses what it does not know', async () => {
    await busy(1);
    await busy(1, 'Globex');
    const first = (await server.admin.get(`${USAGE}?limit=1`)).body;
    const second = (await server.admin.get(`${USAGE}?limit=1&cursor=${String(first.next_cursor)}`)).body;
    expect((first.data as Json[])[0]?.tenant_id).not.to.equal((second.data as Json[])[0]?.tenant_id);
    expect(second.next_cursor).to.equal(null);
    for (const query of ['group_by=model', 'tenant_id=x', 'since=yesterday', 'cursor=x', 'limit=0', 'x=1']) {
      expect((await server.admin.get(`${USAGE}?${query}`)).status, query).to.equal(422);
    }
    for (const query of ['order=turns', 'order=turns&group_by=day', 'order=turns&group_by=tenant&cursor=x']) {
      expect((await server.admin.get(`${USAGE}?${query}`)).status, query).to.equal(422);
    }
    expect((await server.admin.get(`${USAGE}?order=cost&group_by=tenant&limit=1`)).body).to.include({
      next_cursor: null,
    });
    for (const until of ['9999-12-31', '9999-12-31T23:59:59.999Z']) {
      expect((await server.admin.get(`${USAGE}?until=${until}`)).body.data, until).to.have.length(2);
    }
  });

  it('follows the data: a clone, an import and a restore bring it, a purge takes it', async () => {
    const acme = await busy(2);
    const path = `/api/v1/admin/tenants/${acme.id}`;
    const backup = (await server.admin.post(`${path}/backups`, {})).body;
    const config = String(((await acme.client.get('/api/v1/configs')).body.data as Json[])[0]?.id);
    await acme.client.chat(config, { message: 'Once more' });
    expect(await turnsOf(acme.id)).to.deep.equal([3]);
    const clone = (await server.admin.post(`${path}/clone`, { name: 'Staging' })).body;
    expect(await turnsOf(String(clone.id))).to.deep.equal([3]);
    const { bytes } = await server.download(`${path}/export`);
    const imported = (await server.upload('Again', bytes)).body;
    expect(await turnsOf(String(imported.id))).to.deep.equal([3]);
    expect((await server.admin.post(`${path}/restore`, { backup_id: backup.id })).status).to.equal(200);
    expect(await turnsOf(acme.id)).to.deep.equal([2]);

    await server.admin.delete(path);
    expect(await turnsOf(acme.id)).to.deep.equal([2]);
    await server.admin.delete(`${path}?purge=true`);
    expect(await turnsOf(acme.id)).to.deep.equal([]);
    expect((await rows('group_by=day'))[0]?.turns).to.equal(6);
  });

  it('is rebuilt from the files, one tenant or all, while turns run', async () => {
    const acme = await busy(1);
    const globex = await busy(2, 'Globex');
    const right = await rows();
    forge("UPDATE usage_days SET turns = 99, day = '2001-01-01'");
    const one = await rebuild({ tenant_id: acme.id });
    expect(one.at(-1)).to.deep.equal({ event: 'done', data: { rebuilt: 1, failed: [] } });
    expect(await turnsOf(acme.id)).to.deep.equal([1]);
    expect(await turnsOf(globex.id)).to.deep.equal([99]);
    const config = String(((await acme.client.get('/api/v1/configs')).body.data as Json[])[0]?.id);
    const [all] = await Promise.all([
      rebuild({}),
      ...Array.from({ length: 5 }, () => acme.client.chat(config, { message: 'Hello' })),
    ]);
    expect(all.at(-1)?.data).to.include({ rebuilt: Number(all.at(-1)?.data.rebuilt) });
    expect(all.filter(({ event }) => event === 'progress').at(-1)?.data).to.deep.equal({ done: 3, total: 3 });
    expect(await turnsOf(acme.id)).to.deep.equal([6]);
    expect(await turnsOf(globex.id)).to.deep.equal([2]);
    expect(right).to.have.length(2);
    const unknown = { tenant_id: '018f0000-0000-7000-8000-000000000000' };
    expect((await server.admin.post(`${USAGE}/rebuild`, unknown)).status).to.equal(404);
  });

  it('is whole after a restart', async () => {
    const acme = await busy(3);
    await server.close();
    server = await startTestServer({ dataDir: server.dataDir });
    expect(await turnsOf(acme.id)).to.deep.equal([3]);
  });
});
