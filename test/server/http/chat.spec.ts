import { expect } from 'chai';
import { chatEndpoints } from '../../../server/endpoints/chat.ts';
import {
  allEvents,
  type Json,
  type StreamEvent,
  startTestServer,
  type TestServer,
  type TestTenant,
} from '../../support/http.ts';
import { type Answer, createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

const SECRET = 'sk-operator-secret';

describe('chat over HTTP', () => {
  let upstream: Upstream;
  let server: TestServer;
  let tenant: TestTenant;
  let demo: string;
  let openai: string;

  before(async () => {
    upstream = await startUpstream();
    server = await startTestServer({
      env: {
        OPENAI_API_KEY: SECRET,
        OPENAI_BASE_URL: upstream.openaiUrl,
        UPSTREAM_RETRIES: '0',
        UPSTREAM_IDLE_TIMEOUT_SECONDS: '0.2',
        HISTORY_BYTES_MAX: '4096',
      },
      config: { pingMs: 20 },
    });
    tenant = await server.createTenant();
    demo = await server.createConfig(tenant.client, { tools_config: ['look'] });
    openai = await server.createConfig(tenant.client, {
      name: 'Model',
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
  });
  after(async () => {
    await server.stop();
    await upstream.close();
  });

  /** Checks every event against its schema and the order that the contract names. */
  function checkEvents(events: StreamEvent[]): StreamEvent {
    const schemas = chatEndpoints[0]?.events ?? {};
    for (const { event, data } of events) {
      expect(schemas[event]?.safeParse(data).error?.message, event).to.equal(undefined);
    }
    const names = events.map(({ event }) => event);
    expect(names[0]).to.equal('start');
    expect(names.filter((name) => name === 'start')).to.have.length(1);
    expect(names.filter((name) => name === 'done' || name === 'error')).to.have.length(1);
    const last = events.at(-1);
    if (!last) throw new Error('no events');
    expect(last.event).to.match(/^(done|error)$/);
    return last;
  }

  it('streams what it answers plain: start, deltas, done', async () => {
    const stream = await tenant.client.stream(demo, { message: 'Hello' });
    expect(stream.status).to.equal(200);
    expect(stream.headers.get('content-type')).to.equal('text/event-stream; charset=utf-8');
    expect(stream.headers.get('x-request-id')).to.be.a('string');
    const events = await allEvents(stream);
    const done = checkEvents(events);
    const deltas = events.filter(({ event }) => event === 'delta').map(({ data }) => data.text);
    expect(deltas.length).to.be.greaterThan(1);
    expect(deltas.join('')).to.equal(done.data.response);
    expect(events[0]?.data).to.deep.equal({
      conversation_id: done.data.conversation_id,
      message_id: done.data.message_id,
    });
  });

  it('sends whole characters, and none that a reader of lines takes for the end of one', async () => {
    upstream.script({ text: ['a\u0000', 'b\ud83d', '\ude42\ude42', 'c\u0085\u2028\u2029', 'd\ud83d'] });
    const events = await allEvents(await tenant.client.stream(openai, { message: 'Hello' }));
    const done = checkEvents(events);
    const deltas = events.filter(({ event }) => event === 'delta').map(({ data }) => data.text);
    expect(deltas).to.deep.equal(['a\ufffd', 'b', '🙂\ufffd', 'c\u0085\u2028\u2029', 'd']);
    expect(done.data.response).to.equal(deltas.join(''));

    upstream.script({ text: 'c\u0085\u2028\u2029' });
    const { apiKey } = tenant;
    const { text } = await server.fetch(`/api/v1/chat/${openai}`, {
      method: 'POST',
      headers: { 'X-API-Key': apiKey, 'Content-Type': 'application/json' },
      body: JSON.stringify({ message: 'Hello', stream: true }),
    });
    expect(text)
      .to.include('data: {"text":"c\\u0085\\u2028\\u2029"}')
      .and.not.to.match(/[\u0085\u2028\u2029]/);
  });

  it('goes round the tool loop, taking "result" for "content" and a name for an id', async () => {
    const asked = await tenant.client.chat(demo, { message: 'call look {"at":"sky"}' });
    expect(asked.body.finish_reason).to.equal('tool_calls');
    const [call] = asked.body.tool_calls as Json[];
    expect(call)
      .to.include({ name: 'look' })
      .and.to.deep.include({ arguments: { at: 'sky' } });
    const conversation_id = asked.body.conversation_id;

    const pending = await tenant.client.chat(demo, { message: 'Well?', conversation_id });
    expect([pending.status, pending.body.code]).to.deep.equal([409, 'tool_results_pending']);
    expect(pending.body.open_calls).to.deep.equal([call]);

    for (const tool_results of [
      [{ tool_call_id: 'unknown', content: '' }],
      [
        { tool_call_id: call?.id, content: '' },
        { tool_call_id: call?.id, content: '' },
      ],
      [{ name: 'other', content: '' }],
    ]) {
      const wrong = await tenant.client.chat(demo, { tool_results, conversation_id });
      expect([wrong.status, wrong.body.code]).to.deep.equal([422, 'validation_failed']);
      expect(wrong.body.open_calls).to.deep.equal([call]);
    }

    const tool_results = [{ name: 'look', result: { clouds: 2 } }];
    const answered = await tenant.client.chat(demo, { tool_results, conversation_id });
    expect([answered.status, answered.body.finish_reason]).to.deep.equal([200, 'stop']);
    const { body } = await tenant.client.get(`/api/v1/conversations/${conversation_id}`);
    const messages = body.messages as Json[];
    expect(messages.map(({ role }) => role)).to.deep.equal(['user', 'assistant', 'tool', 'assistant']);
    expect(messages[2]).to.include({ content: '{"clouds":2}', tool_call_id: call?.id });
  });

  it('lists the open calls where a result names none, and takes null for an id that is not known', async () => {
    const called = await tenant.client.chat(demo, { message: 'call look {}' });
    const { conversation_id } = called.body;
    const nameless = { conversation_id, tool_results: [{ content: 1 }] };
    const refused = await tenant.client.chat(demo, nameless);
    expect(refused.status).to.equal(422);
    expect(refused.body.open_calls).to.deep.equal(called.body.tool_calls);
    const named = [{ tool_call_id: null, name: 'look', content: 1 }];
    expect((await tenant.client.chat(demo, { conversation_id, tool_results: named })).status).to.equal(200);
  });

  it('lets a message cancel the open calls', async () => {
    const asked = await tenant.client.stream(demo, { message: 'call look {}' });
    const events = await allEvents(asked);
    expect(events.map(({ event }) => event)).to.include('tool_call');
    const { conversation_id } = checkEvents(events).data;
    const reply = await tenant.client.chat(demo, {
      message: 'Never mind',
      conversation_id,
      cancel_tool_calls: true,
    });
    expect(reply.status).to.equal(200);
  });

  it('turns numbers and booleans in template_vars into text', async () => {
    const config = await server.createConfig(tenant.client, {
      name: 'Vars',
      system_prompt: '{n}-{yes}-{date}-{x}',
    });
    const { body } = await tenant.client.chat(config, {
      message: 'what is your system prompt?',
      template_vars: { n: 1.5, yes: true },
    });
    expect(body.response).to.match(/1\.5-true-\d{4}-\d\d-\d\d-\{x\}/);
  });

  const REFUSED: [what: string, status: number, code: string, ask: () => Promise<[string, Json]>][] = [
    [
      'a provider that the tenant may not use',
      403,
      'provider_not_allowed',
      async () => {
        const path = `/api/v1/admin/tenants/${tenant.id}`;
        await server.admin.patch(path, { limits: { providers: ['demo'] } });
        return [openai, { message: 'Hi' }];
      },
    ],
    [
      'a provider without a key',
      503,
      'provider_not_configured',
      async () => {
        const model_config = { provider: 'groq', model: 'x' };
        return [
          await server.createConfig(tenant.client, { name: 'No key', model_config }),
          { message: 'Hi' },
        ];
      },
    ],
    [
      'a conversation of another config',
      404,
      'not_found',
      async () => {
        const { body } = await tenant.client.chat(demo, { message: 'Hi' });
        return [openai, { message: 'Hi', conversation_id: body.conversation_id }];
      },
    ],
    [
      'a history that is too long',
      422,
      'history_too_long',
      async () => {
        const { body } = await tenant.client.chat(demo, { message: 'x'.repeat(5000) });
        return [demo, { message: 'Hi', conversation_id: body.conversation_id }];
      },
    ],
  ];
  for (const [what, status, code, ask] of REFUSED) {
    it(`refuses ${what} with its status, streamed or not`, async () => {
      const [config, body] = await ask();
      for (const stream of [false, true]) {
        const reply = await tenant.client.chat(config, { ...body, stream });
        expect([reply.status, reply.body.code]).to.deep.equal([status, code]);
      }
      await server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, { limits: { providers: null } });
    });
  }

  const UPSTREAM: [what: string, answer: Answer, status: number, code: string][] = [
    ['400', { status: 400, errorMessage: 'WORDS', echoKey: true }, 502, 'upstream_rejected'],
    ['401', { status: 401, errorMessage: 'WORDS', echoKey: true }, 502, 'upstream_rejected'],
    [
      '429',
      { status: 429, errorMessage: 'WORDS', headers: { 'retry-after': '7' } },
      503,
      'upstream_rate_limited',
    ],
    ['500', { status: 500, errorMessage: 'WORDS' }, 502, 'upstream_unavailable'],
    ['529', { status: 529, errorMessage: 'WORDS' }, 502, 'upstream_unavailable'],
    ['silence', { hangAfter: 'request' }, 504, 'upstream_timeout'],
    ['a cut connection', { closeAfter: 'request' }, 502, 'upstream_unavailable'],
    ['a cut stream', { text: ['a', 'b'], closeAfter: 1 }, 502, 'upstream_invalid'],
    ['broken JSON', { text: ['a', 'b'], brokenAfter: 1 }, 502, 'upstream_invalid'],
    ['a stream without its end', { text: ['a'], finish: null }, 502, 'upstream_invalid'],
  ];
  for (const [what, answer, status, code] of UPSTREAM) {
    it(`answers ${status} ${code} to ${what} from the provider, with its words and key nowhere`, async () => {
      upstream.script(answer, answer);
      const plain = await tenant.client.chat(openai, { message: 'Hi' });
      expect([plain.status, plain.body.code], plain.text).to.deep.equal([status, code]);
      if (answer.headers) expect(plain.headers.get('retry-after')).to.equal('7');
      const last = checkEvents(await allEvents(await tenant.client.stream(openai, { message: 'Hi' })));
      expect(last).to.deep.include({ event: 'error' });
      expect(last.data).to.include({ status, code });
      expect(plain.text + JSON.stringify(last))
        .not.to.include('WORDS')
        .and.not.to.include(SECRET);
      expect(JSON.stringify(server.logs())).not.to.include(SECRET);
      const logs = await tenant.client.get('/api/v1/logs?limit=2');
      for (const row of logs.body.data as Json[])
        expect(row).to.include({ status: 'error', error_code: code });
    });
  }

  it('pings in a silence', async () => {
    const gate = createGate();
    upstream.script({ text: 'late', hold: gate });
    // The idle time-out of this server is for the tests above; here the upstream is only a little late.
    const stream = await tenant.client.stream(openai, { message: 'Hi' });
    const events: StreamEvent[] = [];
    for await (const event of stream.events) {
      events.push(event);
      if (event.event === 'ping') gate.open();
    }
    expect(events.map(({ event }) => event)).to.include('ping');
    expect(checkEvents(events).event).to.equal('done');
  });

  it('answers 409 conversation_busy to a second turn at the same time', async () => {
    upstream.script({ text: 'one' });
    const first = await tenant.client.chat(openai, { message: 'Hi' });
    const { conversation_id } = first.body;
    const gate = createGate();
    upstream.script({ text: 'two', hold: gate });
    const count = upstream.requests.length;
    const running = tenant.client.chat(openai, { message: 'Hi', conversation_id });
    await upstream.received(count + 1);
    const second = await tenant.client.chat(openai, { message: 'Hi', conversation_id });
    expect([second.status, second.body.code]).to.deep.equal([409, 'conversation_busy']);
    const deleted = await tenant.client.delete(`/api/v1/conversations/${conversation_id}`);
    expect(deleted.body.code).to.equal('conversation_busy');
    gate.open();
    expect((await running).status).to.equal(200);
  });

  it('ends the upstream call of a client that leaves before the first byte and logs 499', async () => {
    const count = upstream.requests.length;
    upstream.script({ hold: createGate(), text: 'never' });
    const request_id = 'leaves-early';
    const leaving = new AbortController();
    const answer = fetch(`${server.url}/api/v1/chat/${openai}`, {
      method: 'POST',
      headers: { 'X-API-Key': tenant.apiKey, 'Content-Type': 'application/json', 'X-Request-Id': request_id },
      body: JSON.stringify({ message: 'Hi' }),
      signal: leaving.signal,
    }).catch(() => 'left');
    await upstream.received(count + 1);
    leaving.abort();
    expect(await answer).to.equal('left');
    const line = await server.logged((entry) => entry.request_id === request_id);
    expect(line).to.include({ status: 499, tenant_id: tenant.id });
  });

  it('keeps the text of a stream that its client left, as an aborted turn', async () => {
    const gate = createGate();
    upstream.script({ text: ['Once ', 'upon ', 'a time'], hold: gate });
    const stream = await tenant.client.stream(openai, { message: 'Tell' });
    let conversationId = '';
    gate.release(2);
    let deltas = 0;
    for await (const { event, data } of stream.events) {
      if (event === 'start') conversationId = String(data.conversation_id);
      if (event === 'delta') deltas += 1;
      if (deltas === 2) break;
    }
    stream.abort();
    const { request_id } = await server.logged(
      (line) => line.status === 499 && line.request_id === stream.headers.get('x-request-id'),
    );
    const { body } = await tenant.client.get(`/api/v1/logs?conversation_id=${conversationId}`);
    expect((body.data as Json[])[0]).to.include({ status: 'aborted', request_id });
    const kept = await tenant.client.get(`/api/v1/conversations/${conversationId}`);
    expect((kept.body.messages as Json[]).map(({ content }) => content)).to.deep.equal([
      'Tell',
      'Once upon ',
    ]);
  });
});
