import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { allEvents, type Json, type Reply, startTestServer, type TestServer } from '../../support/http.ts';
import { startServerProcess } from '../../support/process.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

/** US dollars for a million tokens. The question costs next to nothing, so that a turn costs nearly what it may. */
const PRICES = { openai: { 'gpt-test': { input: 0.01, output: 100 } } };
const USAGE = { input: 10, output: 1000 };
const TURN_MICRO_USD = 100_001;
/** A turn more than fits would cost this. */
const TURN_USD = 0.101;
const ADMIN_TOKEN = 'limits-admin-token-0123456789';

describe('limits over HTTP', () => {
  let folder: string;
  let upstream: Upstream;
  let server: TestServer;
  /** What the server takes for the time. */
  let now: number;

  const env = () => ({
    OPENAI_API_KEY: 'k',
    OPENAI_BASE_URL: upstream.openaiUrl,
    UPSTREAM_RETRIES: '0',
    PRICES_FILE: join(folder, 'prices.json'),
  });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nimblesite-limits-'));
    await writeFile(join(folder, 'prices.json'), JSON.stringify(PRICES));
  });
  after(() => rm(folder, { recursive: true, force: true }));
  beforeEach(async () => {
    // The middle of a month, so that only the test that wants to crosses its end.
    now = Date.parse('2026-03-15T12:00:00Z');
    upstream = await startUpstream();
    upstream.respond(() => ({ text: 'Hello', usage: USAGE }));
    server = await startTestServer({
      env: env(),
      clock: { now: () => now, monotonic: () => systemClock.monotonic() },
    });
  });
  afterEach(async () => {
    await server.stop();
    await upstream.close();
  });

  /** A tenant with these limits and a config of the scripted upstream. */
  async function limited(limits: Json, modelConfig: Json = {}) {
    const tenant = await server.createTenant({ limits });
    const configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test', max_tokens: 1000, ...modelConfig },
      system_prompt: '',
    });
    return {
      ...tenant,
      configId,
      say: (message = 'Hi') => tenant.client.chat(configId, { message }),
      stream: (message = 'Hi') => tenant.client.stream(configId, { message }),
      logs: async () => (await tenant.client.get('/api/v1/logs?limit=100')).body.data as Json[],
    };
  }
  const refusal = ({ status, body }: Reply) => [status, body.code, body.limit];
  const figures = (reply: { headers: Headers }, what: 'requests' | 'tokens') =>
    ['limit', 'remaining', 'reset'].map((figure) => reply.headers.get(`x-ratelimit-${figure}-${what}`));

  describe('requests_per_minute', () => {
    it('admits that many turns in any 60 seconds and says when the next may come', async () => {
      const tenant = await limited({ requests_per_minute: 2 });
      const first = await tenant.say();
      expect(figures(first, 'requests')).to.deep.equal(['2', '1', '60']);
      now += 20_000;
      const second = await tenant.say();
      expect(figures(second, 'requests').slice(0, 2)).to.deep.equal(['2', '0']);
      now += 10_000;
      const third = await tenant.say();
      expect(refusal(third)).to.deep.equal([429, 'rate_limited', 'requests_per_minute']);
      expect(third.headers.get('retry-after')).to.equal('30');
      expect(third.headers.get('ratelimit-limit')).to.equal('2');
      expect(third.headers.get('ratelimit-remaining')).to.equal('0');
      now += 29_999;
      expect((await tenant.say()).status).to.equal(429);
      now += 1;
      expect((await tenant.say()).status).to.equal(200);
      expect((await tenant.say()).status).to.equal(429);
      expect(upstream.requests).to.have.length(3);
      expect(await tenant.logs()).to.have.length(3);
    });

    it('counts the turns of before it was set, and ends when it is taken away', async () => {
      const tenant = await limited({});
      for (let turn = 0; turn < 3; turn += 1) expect((await tenant.say()).status).to.equal(200);
      const set = (value: number | null) =>
        server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, { limits: { requests_per_minute: value } });
      await set(3);
      expect(refusal(await tenant.say())).to.deep.equal([429, 'rate_limited', 'requests_per_minute']);
      await set(4);
      expect((await tenant.say()).status).to.equal(200);
      expect((await tenant.say()).status).to.equal(429);
      await set(null);
      expect((await tenant.say()).status).to.equal(200);
    });

    it('is said by streams too, whose refusal is a status and no stream', async () => {
      const tenant = await limited({ requests_per_minute: 1 });
      const first = await tenant.stream();
      expect(figures(first, 'requests').slice(0, 2)).to.deep.equal(['1', '0']);
      await allEvents(first);
      const second = await tenant.stream();
      expect(second.status).to.equal(429);
      expect(second.headers.get('content-type')).to.include('application/problem+json');
      second.abort();
    });

    it('is not told where it is not set', async () => {
      const reply = await (await limited({})).say();
      const told = [...reply.headers.keys()].filter((name) => name.includes('ratelimit'));
      expect(told).to.deep.equal([]);
    });

    it("is each tenant's own, and begins anew in a clone", async () => {
      const tenant = await limited({ requests_per_minute: 1 });
      const other = await limited({ requests_per_minute: 1 });
      expect((await tenant.say()).status).to.equal(200);
      expect((await tenant.say()).status).to.equal(429);
      expect((await other.say()).status).to.equal(200);
      const { body } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/clone`, {
        name: 'Staging',
      });
      const clone = server.tenant(String(body.api_key));
      expect((await clone.chat(tenant.configId, { message: 'Hi' })).status).to.equal(200);
    });
  });

  describe('tokens_per_minute', () => {
    it('admits turns while tokens are left, as counted by the provider', async () => {
      const tenant = await limited({ tokens_per_minute: 2020 });
      const first = await tenant.say();
      expect(first.status, first.text).to.equal(200);
      expect(first.headers.get('x-ratelimit-limit-tokens')).to.equal('2020');
      const second = await tenant.say();
      expect(second.status, second.text).to.equal(200);
      const third = await tenant.say();
      expect(refusal(third)).to.deep.equal([429, 'rate_limited', 'tokens_per_minute']);
      expect(third.headers.get('retry-after')).to.equal('60');
      now += 60_000;
      expect((await tenant.say()).status).to.equal(200);
    });
  });

  describe('max_concurrent_turns', () => {
    it('frees a slot at every end of a turn', async () => {
      const tenant = await limited({ max_concurrent_turns: 1 });
      const ends: (() => Promise<unknown>)[] = [
        async () => {
          const gate = createGate();
          upstream.script({ text: 'Late', hold: gate });
          const running = tenant.say();
          await upstream.received(upstream.requests.length + 1);
          const refused = await tenant.say();
          expect(refusal(refused)).to.deep.equal([429, 'concurrency_limited', 'max_concurrent_turns']);
          expect(Number(refused.headers.get('retry-after'))).to.be.at.least(1);
          gate.open();
          expect((await running).status).to.equal(200);
        },
        async () => {
          upstream.script({ status: 500 });
          expect((await tenant.say()).status).to.equal(502);
        },
        async () => {
          upstream.script({ text: ['A', 'B'], hangAfter: 1 });
          const stream = await tenant.stream();
          await stream.events.next();
          await stream.events.next();
          expect((await tenant.say()).status).to.equal(429);
          stream.abort();
          await server.logged((line) => line.status === 499);
        },
      ];
      for (const end of ends) {
        await end();
        expect((await tenant.say()).status).to.equal(200);
      }
    });

    it('gets its slots and reservations back when the process that held them was killed', async () => {
      const dataDir = join(folder, 'killed');
      const options = {
        env: { ...env(), ADMIN_TOKEN, PORT: '0', DATA_DIR: dataDir, DRAIN_SECONDS: '0' },
      };
      const call = async (url: string, path: string, key: string, body: Json) => {
        const answer = await fetch(`${url}${path}`, {
          method: 'POST',
          headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
          body: JSON.stringify(body),
        });
        return { status: answer.status, body: (await answer.json()) as Json };
      };
      let running = await startServerProcess(options);
      try {
        const made = await call(running.url, '/api/v1/admin/tenants', ADMIN_TOKEN, {
          name: 'Acme',
          limits: { max_concurrent_turns: 2, monthly_spend_usd: 2.5 * TURN_USD },
        });
        const key = String(made.body.api_key);
        const config = await call(running.url, '/api/v1/configs', key, {
          name: 'Assistant',
          system_prompt: '',
          // Two turns reserve so much of the budget that no third fits.
          model_config: { provider: 'openai', model: 'gpt-test', max_tokens: 1000 },
        });
        const path = `/api/v1/chat/${String(config.body.id)}`;
        upstream.script({ hangAfter: 'request' }, { hangAfter: 'request' });
        const lost = [1, 2].map(() => call(running.url, path, key, { message: 'Hi' }).catch(() => null));
        await upstream.received(2);
        // Both limits keep a third one out; the first of them is told.
        const third = await call(running.url, path, key, { message: 'Hi' });
        expect(third.body.code).to.equal('budget_exceeded');
        await running.end('SIGKILL');
        await Promise.all(lost);
        running = await startServerProcess(options);
        const gate = createGate();
        upstream.script({ text: 'A', hold: gate }, { text: 'B', hold: gate });
        const again = [1, 2].map(() => call(running.url, path, key, { message: 'Hi' }));
        await upstream.received(4);
        gate.open();
        expect((await Promise.all(again)).map(({ status }) => status)).to.deep.equal([200, 200]);
      } finally {
        await running.end('SIGTERM');
      }
    });
  });

  describe('monthly_spend_usd', () => {
    it('admits exactly as many of the turns that come at once as fit', async () => {
      const turns = 3;
      for (let round = 0; round < 5; round += 1) {
        const tenant = await limited({ monthly_spend_usd: turns * TURN_USD });
        const replies = await Promise.all(Array.from({ length: 50 }, () => tenant.say()));
        const refused = replies.filter(({ status }) => status !== 200);
        expect(replies.length - refused.length).to.equal(turns);
        for (const reply of refused) {
          expect(refusal(reply)).to.deep.equal([402, 'budget_exceeded', 'monthly_spend_usd']);
        }
        expect((await tenant.logs()).map(({ cost_usd: cost }) => cost)).to.deep.equal(
          Array.from({ length: turns }, () => TURN_MICRO_USD / 1e6),
        );
      }
    });

    it('gives back what a turn could have cost and did not', async () => {
      const tenant = await limited({ monthly_spend_usd: 2 * TURN_USD });
      upstream.respond(() => ({ text: 'Hi', usage: { input: 10, output: 10 } }));
      // Each costs a hundredth of what it may.
      for (let turn = 0; turn < 50; turn += 1) expect((await tenant.say()).status).to.equal(200);
      const [day] = (await tenant.client.get('/api/v1/usage')).body.data as Json[];
      expect(day?.cost_usd).to.be.closeTo((50 * 1001) / 1e6, 1e-9);
    });

    it('begins anew with the UTC month', async () => {
      const tenant = await limited({ monthly_spend_usd: TURN_USD });
      now = Date.parse('2026-03-31T23:59:59.999Z');
      while ((await tenant.say()).status === 200);
      expect(refusal(await tenant.say())).to.deep.equal([402, 'budget_exceeded', 'monthly_spend_usd']);
      now += 1;
      expect((await tenant.say()).status).to.equal(200);
    });

    it('survives a restore, and begins at nothing in a clone and in an import', async () => {
      const tenant = await limited({ monthly_spend_usd: TURN_USD });
      const { body: backup } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/backups`, {});
      while ((await tenant.say()).status === 200);
      const restored = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/restore`, {
        backup_id: backup.id,
      });
      expect(restored.status, restored.text).to.equal(200);
      expect(refusal(await tenant.say())[1]).to.equal('budget_exceeded');

      const { body: clone } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/clone`, {
        name: 'Staging',
      });
      const cloned = server.tenant(String(clone.api_key));
      expect((await cloned.chat(tenant.configId, { message: 'Hi' })).status).to.equal(200);

      const file = await server.download(`/api/v1/admin/tenants/${tenant.id}/export`);
      const imported = await server.upload('Elsewhere', file.bytes);
      await server.admin.patch(`/api/v1/admin/tenants/${String(imported.body.id)}`, {
        limits: { monthly_spend_usd: TURN_USD },
      });
      const elsewhere = server.tenant(String(imported.body.api_key));
      expect((await elsewhere.chat(tenant.configId, { message: 'Hi' })).status).to.equal(200);
    });

    it('takes nothing for a turn that failed before it cost anything', async () => {
      const tenant = await limited({ monthly_spend_usd: TURN_USD });
      for (let turn = 0; turn < 30; turn += 1) {
        upstream.script({ status: 401 });
        expect((await tenant.say()).status).to.equal(502);
      }
      expect((await tenant.say()).status).to.equal(200);
    });

    it('refuses a model without a price; without the limit it is allowed, at an unknown cost', async () => {
      const tenant = await limited({ monthly_spend_usd: 1 }, { model: 'nobody-knows-this-one' });
      const refused = await tenant.say();
      expect([refused.status, refused.body.code]).to.deep.equal([503, 'pricing_unavailable']);
      expect(upstream.requests).to.have.length(0);
      expect(await tenant.logs()).to.have.length(0);
      await server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, { limits: { monthly_spend_usd: null } });
      const allowed = await tenant.say();
      expect([allowed.status, allowed.body.cost_usd]).to.deep.equal([200, null]);
      expect((await tenant.logs())[0]?.cost_usd).to.equal(null);
    });

    it('sends a bound on the answer where the config has none, and the config’s own where it has', async () => {
      const own = await limited({ monthly_spend_usd: 1 });
      await own.say();
      expect(upstream.requests[0]?.body).to.include({ max_tokens: 1000 });
      const none = await limited({ monthly_spend_usd: 1 }, { max_tokens: undefined });
      await none.say();
      expect(Number(upstream.requests[1]?.body.max_completion_tokens)).to.be.greaterThan(0);
      const free = await limited({}, { max_tokens: undefined });
      await free.say();
      expect(upstream.requests[2]?.body).to.not.have.any.keys('max_tokens', 'max_completion_tokens');
    });

    it('costs nothing at the embedded provider, which is admitted whatever was spent', async () => {
      const tenant = await limited({}, {});
      expect((await tenant.say()).status).to.equal(200);
      await server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, { limits: { monthly_spend_usd: 0 } });
      const demo = await server.createConfig(tenant.client, { name: 'Demo' });
      expect((await tenant.client.chat(demo, { message: 'Hi' })).status).to.equal(200);
      expect((await tenant.say()).body.code).to.equal('budget_exceeded');
    });

    it('is a number of micro-dollars', async () => {
      for (const usd of [0.0000001, 0.1234567, -1]) {
        const reply = await server.admin.post('/api/v1/admin/tenants', {
          name: 'Acme',
          limits: { monthly_spend_usd: usd },
        });
        expect(reply.status, String(usd)).to.equal(422);
      }
      for (const usd of [0.000001, 0.1, 12.345678, 999_999_999.999999])
        await limited({ monthly_spend_usd: usd });
    });

    it('costs nothing at the embedded provider from the beginning', async () => {
      const tenant = await limited({ monthly_spend_usd: 0 }, { provider: 'demo', model: 'demo' });
      const reply = await tenant.say();
      expect([reply.status, reply.body.cost_usd]).to.deep.equal([200, 0]);
    });
  });

  it('tells a tenant what is left of each', async () => {
    const tenant = await limited({
      requests_per_minute: 3,
      max_concurrent_turns: 2,
      monthly_spend_usd: 2 * TURN_USD,
      storage_bytes_max: 2 ** 21,
    });
    const gate = createGate();
    upstream.script({ text: 'Hello', usage: USAGE }, { text: 'Late', hold: gate });
    await tenant.say();
    const running = tenant.say();
    await upstream.received(2);
    const { body } = await tenant.client.get('/api/v1/limits');
    expect(body.requests).to.deep.equal({ limit: 3, remaining: 1, reset_seconds: 60 });
    expect(body.tokens).to.equal(null);
    expect(body.spend).to.include({
      month: '2026-03',
      limit_usd: 2 * TURN_USD,
      spent_usd: TURN_MICRO_USD / 1e6,
    });
    expect((body.spend as { reserved_usd: number }).reserved_usd).to.be.within(0.1, TURN_USD);
    const storage = body.storage as { limit_bytes: number; used_bytes: number };
    expect(storage.limit_bytes).to.equal(2 ** 21);
    expect(storage.used_bytes).to.be.within(4096, 2 ** 20);
    expect(body.turns_at_once).to.deep.equal({ limit: 2, running: 1 });
    gate.open();
    await running;
    await tenant.client.post('/api/v1/configs', {
      name: 'Takes some room',
      system_prompt: 'x'.repeat(100_000),
      model_config: { provider: 'demo', model: 'demo' },
    });
    const { body: after } = await tenant.client.get('/api/v1/limits');
    expect((after.storage as typeof storage).used_bytes - storage.used_bytes).to.be.within(100_000, 400_000);
  });

  it('that are 0 admit nothing, and say that to wait helps nobody', async () => {
    for (const [limit, code, sentence] of [
      ['requests_per_minute', 'rate_limited', 'This tenant may begin no turn.'],
      ['tokens_per_minute', 'rate_limited', 'it is never admitted'],
      ['max_concurrent_turns', 'concurrency_limited', 'This tenant may run no turn.'],
    ] as const) {
      const refused = await (await limited({ [limit]: 0 })).say();
      expect(refusal(refused)).to.deep.equal([429, code, limit]);
      expect(refused.body.detail).to.include(sentence);
      expect(refused.headers.get('retry-after'), limit).to.equal('60');
    }
    expect(upstream.requests).to.have.length(0);
  });

  it('uses nothing up where a turn is refused', async () => {
    const tenant = await limited({ requests_per_minute: 3, max_concurrent_turns: 1, monthly_spend_usd: 1 });
    const gate = createGate();
    upstream.script({ text: 'Late', hold: gate });
    const running = tenant.say();
    await upstream.received(1);
    for (let turn = 0; turn < 10; turn += 1)
      expect((await tenant.say()).body.code).to.equal('concurrency_limited');
    gate.open();
    await running;
    expect((await tenant.say()).headers.get('x-ratelimit-remaining-requests')).to.equal('1');
    expect(await tenant.logs()).to.have.length(2);
  });
});
