import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { type Json, startTestServer, type TestServer } from '../../support/http.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

const STREAMS = 1000;
const AT_ONCE = 50;

const turnsOf = (days: Json[]): number => days.reduce((sum, { turns }) => sum + Number(turns), 0);

describe('streams that are cut off', () => {
  let folder: string;
  let upstream: Upstream;
  let server: TestServer;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nimblesite-aborts-'));
    const prices = join(folder, 'prices.json');
    await writeFile(prices, JSON.stringify({ openai: { 'gpt-test': { input: 1000, output: 2000 } } }));
    upstream = await startUpstream();
    server = await startTestServer({
      env: {
        OPENAI_API_KEY: 'k',
        OPENAI_BASE_URL: upstream.openaiUrl,
        PRICES_FILE: prices,
        DURABILITY: 'normal',
        LOG_LEVEL: 'error',
      },
    });
  });
  after(async () => {
    await server.stop();
    await upstream.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('leave no slot and no reservation behind, one counted row each, and an upstream that was told', async function () {
    // A few seconds, but of the whole machine's work.
    this.timeout(120_000);
    const tenant = await server.createTenant({
      limits: { max_concurrent_turns: STREAMS, monthly_spend_usd: 1e6, tokens_per_minute: 1e12 },
    });
    const configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test', max_tokens: 100 },
      system_prompt: '',
    });
    upstream.respond(() => ({ text: ['One piece', 'never sent'], usage: null, hangAfter: 1 }));

    let begun = 0;
    const leaveInTurn = async () => {
      while (begun < STREAMS) {
        begun += 1;
        const stream = await tenant.client.stream(configId, { message: 'Hi' });
        expect(stream.status).to.equal(200);
        await stream.events.next();
        await stream.events.next();
        stream.abort();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, leaveInTurn));
    await upstream.aborted(STREAMS);

    // No client hears that its turn is settled, but each settled turn is counted.
    const used = async () => (await tenant.client.get('/api/v1/usage')).body.data as Json[];
    let days = await used();
    while (turnsOf(days) < STREAMS) days = await used();
    expect(turnsOf(days)).to.equal(STREAMS);
    for (const day of days) expect(day).to.include({ errors: 0 });
    const { data } = (await tenant.client.get('/api/v1/logs?status=aborted&limit=100')).body as {
      data: Json[];
    };
    for (const row of data) {
      expect(row.usage).to.include({ estimated: true });
      expect(row.usage).to.have.property('output_tokens').that.is.greaterThan(0);
      expect(row.cost_usd).to.be.greaterThan(0);
    }

    // Every slot is free again: that many turns are admitted at once, and no more.
    await server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, {
      limits: { max_concurrent_turns: AT_ONCE },
    });
    const gate = createGate();
    upstream.respond(() => ({ text: 'Whole', hold: gate }));
    const say = () => tenant.client.chat(configId, { message: 'Hi' });
    const running = Array.from({ length: AT_ONCE }, say);
    await upstream.received(STREAMS + AT_ONCE);
    expect((await say()).status).to.equal(429);
    gate.open();
    const replies = await Promise.all(running);
    expect(new Set(replies.map(({ status }) => status))).to.deep.equal(new Set([200]));

    await server.close();
    const file = new Database(join(server.dataDir, 'tenants', `${tenant.id}.db`), { readonly: true });
    const one = (sql: string) => file.prepare(sql).pluck().get();
    expect(one('SELECT count(*) FROM open_turns')).to.equal(0);
    expect(one('SELECT sum(reserved_micro_usd) FROM spend')).to.equal(0);
    expect(one("SELECT count(*) FROM turns WHERE status = 'aborted'")).to.equal(STREAMS);
    expect(one('SELECT sum(spent_micro_usd) FROM spend')).to.equal(
      one('SELECT sum(cost_micro_usd) FROM turns'),
    );
    file.close();
  });
});
