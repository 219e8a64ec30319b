import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { allEvents, type Json } from '../support/http.ts';
import { temporaryFolder } from '../support/tenants.ts';
import { createGate } from '../support/upstream.ts';
import { type CrewedServer, createConfig, inTurn, startCrewed, statuses } from './setup.ts';

// What a server of several processes promises as one of a single process does. Each test has a tenant of its own; two
// requests one after the other go to two workers.
describe('with two workers', () => {
  let server: CrewedServer;
  let folder: ReturnType<typeof temporaryFolder>;

  before(async function () {
    this.timeout(60_000);
    folder = temporaryFolder();
    const prices = join(folder.path, 'prices.json');
    writeFileSync(prices, JSON.stringify({ openai: { 'gpt-priced': { input: 0, output: 100 } } }));
    server = await startCrewed({
      env: { LOG_LEVEL: 'info', TENANT_IDLE_SECONDS: '1', PRICES_FILE: prices },
    });
  });
  after(async () => {
    await server.stop();
    folder.remove();
  });
  afterEach(() => {
    server.upstream.respond(() => ({ text: 'Hello' }));
  });

  it('two processes serve', () => {
    expect(new Set(server.pids()).size).to.equal(2);
  });

  it('admits as many turns in a minute as the tenant may begin, whoever is asked', async () => {
    const { client, configId } = await server.tenant({ limits: { requests_per_minute: 5 } });
    const replies = await Promise.all(
      Array.from({ length: 12 }, () => client.chat(configId, { message: 'Hi' })),
    );
    expect(statuses(replies)).to.deep.equal([...Array(5).fill(200), ...Array(7).fill(429)]);
  });

  it('admits exactly as many turns at once as a budget holds, whoever is asked', async () => {
    // Each costs the 0.01 dollars that it may, so that nothing comes back.
    server.upstream.respond(() => ({ text: 'Hello', usage: { input: 10, output: 100 } }));
    const { client } = await server.tenant({ limits: { monthly_spend_usd: 0.039 } });
    const configId = await createConfig(client, 'Priced', 'gpt-priced');
    const replies = await Promise.all(
      Array.from({ length: 50 }, () => client.chat(configId, { message: 'Hi' })),
    );
    expect(statuses(replies)).to.deep.equal([...Array(3).fill(200), ...Array(47).fill(402)]);
    const [one, two] = await inTurn(2, () => client.get('/api/v1/limits'));
    expect(one?.body.spend).to.include({ spent_usd: 0.03, reserved_usd: 0 });
    expect(two?.body).to.deep.equal(one?.body);
  });

  it('runs one turn at a time where no more are allowed', async () => {
    const { client, configId } = await server.tenant({ limits: { max_concurrent_turns: 1 } });
    const hold = createGate();
    const before = server.upstream.requests.length;
    server.upstream.respond(() => ({ text: 'Hello', hold }));
    const first = client.chat(configId, { message: 'Hi' });
    await server.upstream.received(before + 1);
    const others = await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    expect(others.map(({ body }) => body.code)).to.deep.equal(['concurrency_limited', 'concurrency_limited']);
    hold.open();
    expect((await first).status).to.equal(200);
    expect((await client.chat(configId, { message: 'Hi' })).status).to.equal(200);
  });

  it('runs one turn of a conversation, and says so at whoever is asked for a second', async () => {
    const { client, configId } = await server.tenant();
    const { body } = await client.chat(configId, { message: 'Hi' });
    const hold = createGate();
    const before = server.upstream.requests.length;
    server.upstream.respond(() => ({ text: 'Hello', hold }));
    const turn = { message: 'Hi again', conversation_id: body.conversation_id };
    const first = client.chat(configId, turn);
    await server.upstream.received(before + 1);
    const others = await inTurn(2, () => client.chat(configId, turn));
    expect(others.map((reply) => reply.body.code)).to.deep.equal(['conversation_busy', 'conversation_busy']);
    const deletions = await inTurn(2, () => client.delete(`/api/v1/conversations/${body.conversation_id}`));
    expect(statuses(deletions)).to.deep.equal([409, 409]);
    hold.open();
    expect((await first).status).to.equal(200);
    const [one, two] = await inTurn(2, () => client.get(`/api/v1/conversations/${body.conversation_id}`));
    expect(one?.body).to.include({ status: 'idle', message_count: 4 });
    expect(two?.body).to.deep.equal(one?.body);
  });

  it('asks the model once for one Idempotency-Key', async () => {
    const { client, configId } = await server.tenant();
    const hold = createGate();
    const before = server.upstream.requests.length;
    server.upstream.respond(() => ({ text: 'Hello', hold }));
    const ask = () => client.chat(configId, { message: 'Hi' }, { 'Idempotency-Key': 'one' });
    const first = ask();
    await server.upstream.received(before + 1);
    const others = await inTurn(2, ask);
    expect(others.map(({ body }) => body.code)).to.deep.equal(Array(2).fill('idempotency_in_progress'));
    hold.open();
    const { body } = await first;
    for (const again of await inTurn(2, ask)) {
      expect(again.headers.get('idempotent-replayed')).to.equal('true');
      expect(again.body).to.deep.equal(body);
    }
    expect(server.upstream.requests).to.have.length(before + 1);
  });

  it('refuses a revoked key, a suspended tenant and what a new limit forbids on the very next requests', async () => {
    const { id, client, configId } = await server.tenant();
    const path = `/api/v1/admin/tenants/${id}`;
    const { body: site } = await server.admin.post(`${path}/keys`, { name: 'site' });
    const asSite = server.as(String(site.api_key));
    expect(statuses(await inTurn(2, () => asSite.get('/api/v1/me')))).to.deep.equal([200, 200]);
    await server.admin.delete(`${path}/keys/${site.id}`);
    expect(statuses(await inTurn(4, () => asSite.get('/api/v1/me')))).to.deep.equal([401, 401, 401, 401]);
    await server.admin.patch(path, { limits: { providers: ['demo'] } });
    const chats = await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    expect(chats.map(({ body }) => body.code)).to.deep.equal(Array(2).fill('provider_not_allowed'));
    await server.admin.patch(path, { status: 'suspended' });
    expect(statuses(await inTurn(2, () => client.get('/api/v1/me')))).to.deep.equal([403, 403]);
  });

  it('shows when a key was last used, and what its turns have used, at once', async () => {
    const { id, client, configId } = await server.tenant();
    await inTurn(3, () => client.chat(configId, { message: 'Hi' }));
    const usage = await server.admin.get(`/api/v1/admin/usage?tenant_id=${id}`);
    expect((usage.body.data as Json[])[0]).to.include({ turns: 3, input_tokens: 30, output_tokens: 15 });
    const keys = await server.admin.get(`/api/v1/admin/tenants/${id}/keys`);
    expect((keys.body.data as Json[])[0]?.last_used_at).to.be.a('string');
    const own = await client.get('/api/v1/usage?group_by=model');
    expect((own.body.data as Json[])[0]).to.include({ turns: 3 });
  });

  it('sums its metrics and its open files over all processes', async () => {
    const { client, configId } = await server.tenant();
    const turns = async () => {
      const { text } = await server.admin.get('/metrics');
      const [, count] = /^nimblesite_turns_total\{provider="openai",status="ok"\} (\d+)$/m.exec(text) ?? [];
      return Number(count ?? 0);
    };
    const before = await turns();
    await inTurn(4, () => client.chat(configId, { message: 'Hi' }));
    expect(await inTurn(2, turns)).to.deep.equal([before + 4, before + 4]);
    const { body } = await server.admin.get('/api/v1/admin/stats');
    expect(body.pool).to.include({ open_max: 256 });
  });

  it('aborts the turns of both where a backup is restored, and neither goes on with the old file', async () => {
    const { id, client, configId } = await server.tenant();
    await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    const path = `/api/v1/admin/tenants/${id}`;
    const { body: backup } = await server.admin.post(`${path}/backups`, {});
    await inTurn(2, () => createConfig(client, `later ${Math.random()}`));
    const before = server.upstream.requests.length;
    server.upstream.respond(() => ({ text: ['Hel', 'lo'], hangAfter: 1 }));
    const streams = await inTurn(4, () => client.stream(configId, { message: 'Hi' }));
    await server.upstream.received(before + 4);
    const restored = await server.admin.post(`${path}/restore`, { backup_id: backup.id });
    expect(restored.status, restored.text).to.equal(200);
    for (const stream of streams) {
      expect((await allEvents(stream)).at(-1)?.data.code).to.equal('tenant_unavailable');
    }
    server.upstream.respond(() => ({ text: 'Hello' }));
    for (const configs of await inTurn(4, () => client.get('/api/v1/configs'))) {
      expect((configs.body.data as Json[]).map((config) => config.id)).to.deep.equal([configId]);
    }
    const turns = await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    expect(statuses(turns)).to.deep.equal([200, 200]);
    for (const logs of await inTurn(2, () => client.get('/api/v1/logs'))) {
      expect((logs.body.data as Json[]).map(({ status }) => status)).to.deep.equal(Array(4).fill('ok'));
    }
  });

  it('leaves nothing of a tenant that is purged while both run its turns', async () => {
    const { id, client, configId } = await server.tenant();
    const before = server.upstream.requests.length;
    server.upstream.respond(() => ({ text: 'Hello', hangAfter: 'request' }));
    const turns = Array.from({ length: 4 }, () => client.chat(configId, { message: 'Hi' }));
    await server.upstream.received(before + 4);
    const purged = await server.admin.delete(`/api/v1/admin/tenants/${id}?purge=true`);
    expect(purged.status, purged.text).to.equal(204);
    expect(statuses(await Promise.all(turns))).to.deep.equal(Array(4).fill(503));
    expect(statuses(await inTurn(2, () => client.get('/api/v1/me')))).to.deep.equal([401, 401]);
    for (const folder of ['tenants', 'trash', 'backups']) {
      expect((await server.files(folder)).filter((name) => name.includes(id))).to.deep.equal([]);
    }
  });

  it('takes a tenant back from the trash for both', async () => {
    const { id, client, configId } = await server.tenant();
    await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    await server.admin.delete(`/api/v1/admin/tenants/${id}`);
    expect((await server.files('tenants')).filter((name) => name.includes(id))).to.deep.equal([]);
    const { body } = await server.admin.post(`/api/v1/admin/tenants/${id}/undelete`, {});
    const back = server.as(String(body.api_key));
    const turns = await inTurn(2, () => back.chat(configId, { message: 'Hi' }));
    expect(statuses(turns)).to.deep.equal([200, 200]);
  });

  it('lets a plain copy of a file be whole that both have open, and of one that both have left', async () => {
    const { id, client, configId } = await server.tenant();
    const rest = async () =>
      (await server.files('tenants')).filter((name) => name.startsWith(`${id}.db-wal`));
    await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
    const { body } = await server.admin.post(`/api/v1/admin/tenants/${id}/quiesce`, {});
    expect(body).to.deep.equal({ standalone: true });
    expect(await rest()).to.deep.equal([]);
    // Both go idle in the same moment, and whoever closes last removes what is left.
    await Promise.all(Array.from({ length: 4 }, () => client.chat(configId, { message: 'Hi' })));
    expect(await rest()).to.have.length(1);
    while ((await rest()).length > 0);
  });

  it('lets turns of one tenant wait for the other process, and does not refuse them', async () => {
    const { client, configId } = await server.tenant();
    const turns = await Promise.all(
      Array.from({ length: 100 }, () => client.chat(configId, { message: 'Hi' })),
    );
    expect(new Set(statuses(turns))).to.deep.equal(new Set([200]));
    const [logs] = await inTurn(1, () => client.get('/api/v1/logs?limit=100'));
    expect(logs?.body.data).to.have.length(100);
  });

  it('makes one export of a tenant at a time', async () => {
    const { client, configId } = await server.tenant();
    await client.chat(configId, { message: 'Hi' });
    const exports = await Promise.all(Array.from({ length: 4 }, () => client.get('/api/v1/export')));
    expect(statuses(exports).filter((status) => status === 200)).to.have.length.greaterThan(0);
    for (const { status, body } of exports)
      if (status !== 200) expect(body.code).to.equal('concurrency_limited');
    expect(statuses(await inTurn(2, () => client.get('/api/v1/export')))).to.deep.equal([200, 200]);
  });

  it('opens provider keys in both after the master key was rotated', async () => {
    const { client, configId } = await server.tenant();
    await client.put('/api/v1/providers/openai', { api_key: 'sk-own-0123456789' });
    const keysSent = async () => {
      const before = server.upstream.requests.length;
      await inTurn(2, () => client.chat(configId, { message: 'Hi' }));
      return server.upstream.requests.slice(before).map(({ headers }) => headers.authorization);
    };
    expect(await keysSent()).to.deep.equal(Array(2).fill('Bearer sk-own-0123456789'));
    const rotated = await server.admin.post('/api/v1/admin/master-key/rotate', {});
    expect(rotated.status, rotated.text).to.equal(200);
    expect(await keysSent()).to.deep.equal(Array(2).fill('Bearer sk-own-0123456789'));
  });

  it('chains the audit over what comes in at both', async () => {
    const { id } = await server.tenant();
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, at) =>
        server.admin.post(`/api/v1/admin/tenants/${id}/keys`, { name: `key ${at}` }),
      ),
    );
    expect(statuses(made)).to.deep.equal(Array(10).fill(201));
    const { text } = await server.admin.post('/api/v1/admin/doctor', {});
    expect(text).to.include('event: done').and.not.to.include('audit');
  });

  it('counts wrong admin tokens by the address of their client, whatever that says of itself', async () => {
    const attempts = await Promise.all(
      Array.from({ length: 30 }, (_, at) =>
        server
          .as('', {
            'X-API-Key': '',
            Authorization: `Bearer a wrong admin token ${at}`,
            'X-Nimblesite-Client-Address': `10.0.0.${at}`,
          })
          .get('/api/v1/admin/tenants'),
      ),
    );
    const refused = statuses(attempts);
    expect(refused.filter((status) => status === 401)).to.have.length.lessThan(25);
    expect(refused.filter((status) => status === 429)).to.have.length.greaterThan(4);
    // A right one is not kept out.
    expect((await server.admin.get('/api/v1/admin/tenants')).status).to.equal(200);
  });
});
