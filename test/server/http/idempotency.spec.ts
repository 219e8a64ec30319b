import { expect } from 'chai';
import { idempotencyOf } from '../../../server/endpoints/idempotency.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import {
  allEvents,
  type Json,
  startTestServer,
  type TestServer,
  type TestTenant,
} from '../../support/http.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

const HOUR_MS = 3_600_000;

describe('Idempotency-Key', () => {
  let upstream: Upstream;
  let server: TestServer;
  let tenant: TestTenant;
  let configId: string;
  let aheadMs = 0;

  const start = (dataDir?: string) =>
    startTestServer({
      ...(dataDir && { dataDir }),
      env: {
        OPENAI_API_KEY: 'k',
        OPENAI_BASE_URL: upstream.openaiUrl,
        UPSTREAM_RETRIES: '0',
        DRAIN_SECONDS: '0',
      },
      clock: { now: () => systemClock.now() + aheadMs, monotonic: () => systemClock.monotonic() },
    });

  beforeEach(async () => {
    aheadMs = 0;
    upstream = await startUpstream();
    server = await start();
    tenant = await server.createTenant();
    configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
      tools_config: ['look'],
    });
  });
  afterEach(async () => {
    await server.stop();
    await upstream.close();
  });

  const named = (key: string) => ({ 'Idempotency-Key': key });
  const say = (body: Json, key = 'order-1') => tenant.client.chat(configId, body, named(key));
  const logs = async () => (await tenant.client.get('/api/v1/logs')).body.data as Json[];
  const conversations = async () => (await tenant.client.get('/api/v1/conversations')).body.data as Json[];

  it('gives a finished answer again, word for word, without asking anybody twice', async () => {
    const first = await say({ message: 'Hello' });
    const again = await say({ message: 'Hello' });
    expect(first.status).to.equal(200);
    expect(again.text).to.equal(first.text);
    expect(first.headers.get('idempotent-replayed')).to.equal(null);
    expect(again.headers.get('idempotent-replayed')).to.equal('true');
    expect(upstream.requests).to.have.length(1);
    expect(await logs()).to.have.length(1);
    expect(await conversations()).to.have.length(1);
  });

  it('takes two bodies for the same that differ in the order of their members alone', async () => {
    const first = await say({ message: 'Hello', user: 'u', metadata: { a: 1, b: { c: 1, d: 2 } } });
    const again = await say({ metadata: { b: { d: 2, c: 1 }, a: 1 }, user: 'u', message: 'Hello' });
    expect(again.text).to.equal(first.text);
  });

  it('gives it again after a restart', async () => {
    const first = await say({ message: 'Hello' });
    await server.close();
    const { dataDir } = server;
    server = await start(dataDir);
    const again = await server.tenant(tenant.apiKey).chat(configId, { message: 'Hello' }, named('order-1'));
    expect(again.text).to.equal(first.text);
    expect(upstream.requests).to.have.length(1);
  });

  it('gives a stream again: start, one delta, the calls, done', async () => {
    upstream.script({ text: ['Hel', 'lo'], toolCalls: [{ name: 'look', arguments: { at: 'sky' } }] });
    const first = await allEvents(await tenant.client.stream(configId, { message: 'Hi' }, named('s')));
    const stream = await tenant.client.stream(configId, { message: 'Hi' }, named('s'));
    expect(stream.headers.get('idempotent-replayed')).to.equal('true');
    const again = await allEvents(stream);
    expect(again.map(({ event }) => event)).to.deep.equal(['start', 'delta', 'tool_call', 'done']);
    expect(again[0]).to.deep.equal(first[0]);
    expect(again[1]?.data).to.deep.equal({ text: 'Hello' });
    expect(again.at(-1)).to.deep.equal(first.at(-1));
    expect(upstream.requests).to.have.length(1);
  });

  it('gives the answer to tool results again, though the calls are answered by then', async () => {
    upstream.script({ toolCalls: [{ name: 'look' }] });
    const asked = await tenant.client.chat(configId, { message: 'Hi' });
    const results = {
      conversation_id: asked.body.conversation_id,
      tool_results: [{ name: 'look', content: 'blue' }],
    };
    const first = await say(results, 'results');
    const again = await say(results, 'results');
    expect(first.status, first.text).to.equal(200);
    expect(again.text).to.equal(first.text);
  });

  it('refuses another body under the same key, and another config', async () => {
    await say({ message: 'Hello' });
    const other = await say({ message: 'Hello!' });
    expect([other.status, other.body.code]).to.deep.equal([409, 'idempotency_conflict']);
    const second = await server.createConfig(tenant.client, { name: 'Second' });
    const elsewhere = await tenant.client.chat(second, { message: 'Hello' }, named('order-1'));
    expect([elsewhere.status, elsewhere.body.code]).to.deep.equal([409, 'idempotency_conflict']);
    expect(upstream.requests).to.have.length(1);
  });

  it("knows nothing of another tenant's keys", async () => {
    await say({ message: 'Hello' });
    const stranger = await server.createTenant();
    const theirs = await server.createConfig(stranger.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
    const reply = await stranger.client.chat(theirs, { message: 'Other' }, named('order-1'));
    expect(reply.status).to.equal(200);
  });

  it('refuses the same request while the first still runs, and says when to come back', async () => {
    const gate = createGate();
    upstream.script({ text: 'Late', hold: gate });
    const first = say({ message: 'Hello' });
    await upstream.received(1);
    const second = await say({ message: 'Hello' });
    expect([second.status, second.body.code]).to.deep.equal([409, 'idempotency_in_progress']);
    expect(Number(second.headers.get('retry-after'))).to.be.at.least(1);
    const other = await say({ message: 'Something else' });
    expect(other.body.code).to.equal('idempotency_conflict');
    gate.open();
    expect((await first).status).to.equal(200);
    expect((await say({ message: 'Hello' })).body.response).to.equal('Late');
    expect(upstream.requests).to.have.length(1);
  });

  it('is free again after a turn that failed', async () => {
    upstream.script({ status: 500 });
    expect((await say({ message: 'Hello' })).status).to.equal(502);
    const second = await say({ message: 'Hello' });
    expect(second.status).to.equal(200);
    expect(second.headers.get('idempotent-replayed')).to.equal(null);
    expect(await conversations()).to.have.length(1);
  });

  it('is free again for a request that was refused', async () => {
    expect((await say({ message: 'Hello', conversation_id: configId })).status).to.equal(404);
    expect((await say({ message: 'Hello' })).status).to.equal(200);
  });

  it('lets a turn run to its end when its client leaves', async () => {
    const gate = createGate();
    upstream.script({ text: ['A', 'B'], hold: gate });
    const stream = await tenant.client.stream(configId, { message: 'Hello' }, named('s'));
    await upstream.received(1);
    stream.abort();
    // Only when the server knows that the client has gone.
    await server.logged((line) => line.status === 499);
    gate.open();
    const again = await allEvents(await tenant.client.stream(configId, { message: 'Hello' }, named('s')));
    expect(again.at(-1)?.data.response).to.equal('AB');
    expect((await logs()).map(({ status }) => status)).to.deep.equal(['ok']);
    expect(upstream.requests).to.have.length(1);
  });

  it('leaves nothing of a turn that a stop of the server cut off, so that it can be sent again', async () => {
    upstream.script({ text: ['A', 'B'], hangAfter: 1 });
    const stream = await tenant.client.stream(configId, { message: 'Hello' }, named('s'));
    const first = await stream.events.next();
    expect(first.value?.event).to.equal('start');
    await stream.events.next();
    await server.close();
    stream.abort();
    const { dataDir } = server;
    server = await start(dataDir);
    tenant.client = server.tenant(tenant.apiKey);
    expect(await conversations()).to.have.length(0);
    const again = await tenant.client.stream(configId, { message: 'Hello' }, named('s'));
    expect(again.headers.get('idempotent-replayed')).to.equal(null);
    expect((await allEvents(again)).at(-1)?.event).to.equal('done');
  });

  it('is kept for 24 hours', async () => {
    await say({ message: 'Hello' });
    aheadMs = 23 * HOUR_MS;
    expect((await say({ message: 'Hello' })).headers.get('idempotent-replayed')).to.equal('true');
    aheadMs = 25 * HOUR_MS;
    const late = await say({ message: 'Something else' });
    expect(late.status).to.equal(200);
    expect(late.headers.get('idempotent-replayed')).to.equal(null);
  });

  it('refuses a key that is none, naming the header', async () => {
    for (const key of ['', 'x'.repeat(256), 'a\tb']) {
      const reply = await say({ message: 'Hello' }, key);
      expect([reply.status, reply.body.code], key).to.deep.equal([422, 'validation_failed']);
      expect((reply.body.errors as Json[])[0]?.path).to.equal('Idempotency-Key');
    }
    expect((await say({ message: 'Hello' }, 'x'.repeat(255))).status).to.equal(200);
    expect(() => idempotencyOf('é', '', {})).to.throw();
  });
});
