import { createHash } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';

const UNKNOWN = '018f0000-0000-7000-8000-000000000000';

describe('bad input', () => {
  let server: TestServer;
  let tenant: TestTenant;
  let configId: string;

  before(async () => {
    server = await startTestServer();
    tenant = await server.createTenant();
    configId = await server.createConfig(tenant.client);
  });
  after(() => server.stop());

  const send = (body: string | Uint8Array, type: string | null, path = '/api/v1/configs') =>
    server.fetch(path, {
      method: 'POST',
      headers: { 'X-API-Key': tenant.apiKey, ...(type !== null && { 'Content-Type': type }) },
      // A Blob without a type is what keeps fetch from adding one.
      body: type === null ? new Blob([body as string]) : (body as string),
    });

  const faultsOf = (body: Json): Record<string, string> =>
    Object.fromEntries(
      (body.errors as { path: string; message: string }[]).map(({ path, message }) => [path, message]),
    );

  const whole = { name: 'x', model_config: { provider: 'demo', model: 'demo' } };

  describe('in the form of the body', () => {
    const MALFORMED = ['{"name":', '', 'null x', "{'name':'x'}", '{"name":"x"} {}', '[1,]'];
    for (const text of MALFORMED) {
      it(`answers 400 to ${JSON.stringify(text)} under application/json`, async () => {
        const { status, body } = await send(text, 'application/json');
        expect([status, body.code]).to.deep.equal([400, 'invalid_json']);
      });
    }

    it('answers 400 to bytes that are not UTF-8', async () => {
      const { status } = await send(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), 'application/json');
      expect(status).to.equal(400);
    });

    it('reads JSON without a content type and under the one that curl sends by itself', async () => {
      for (const [index, type] of [null, 'application/x-www-form-urlencoded'].entries()) {
        const { status } = await send(JSON.stringify({ ...whole, name: `untyped ${index}` }), type);
        expect(status).to.equal(201);
      }
    });

    it('answers 415 to what is not JSON under those, and to other types and encodings', async () => {
      const replies = await Promise.all([
        send('name=x', null),
        send('name=x', 'application/x-www-form-urlencoded'),
        send('{}', 'text/plain'),
        send('{}', 'multipart/form-data; boundary=x'),
        server.fetch('/api/v1/configs', {
          method: 'POST',
          headers: {
            'X-API-Key': tenant.apiKey,
            'Content-Type': 'application/json',
            'Content-Encoding': 'gzip',
          },
          body: '{}',
        }),
      ]);
      for (const { status, body } of replies) {
        expect([status, body.code]).to.deep.equal([415, 'unsupported_media_type']);
      }
    });

    for (const text of ['[]', '"x"', '1', 'null', 'true']) {
      it(`answers 422 to ${text}, which is JSON but no object`, async () => {
        const { status, body } = await send(text, 'application/json');
        expect([status, body.code]).to.deep.equal([422, 'validation_failed']);
      });
    }

    it('answers 413 to a body of 2 MiB, announced or not, and keeps serving', async () => {
      const large = JSON.stringify({ ...whole, name: 'x'.repeat(2 * 1024 * 1024) });
      const announced = await send(large, 'application/json');
      expect([announced.status, announced.body.code]).to.deep.equal([413, 'body_too_large']);
      // Both requests on one connection: what is left of the first must not stand in the second's way.
      const { port, hostname } = new URL(server.url);
      const socket = connect(Number(port), hostname);
      socket.write('POST /api/v1/configs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n');
      socket.write(`X-API-Key: ${tenant.apiKey}\r\nContent-Type: application/json\r\n\r\n`);
      for (let at = 0; at < large.length; at += 65_536) {
        const part = large.slice(at, at + 65_536);
        socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
      }
      socket.write('0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const answers = await text(socket);
      expect(answers.match(/HTTP\/1\.1 \d+/g)).to.deep.equal(['HTTP/1.1 413', 'HTTP/1.1 200']);
    });

    it('asks a waiting client for its body only where the body is wanted', async () => {
      const ask = (length: number) =>
        new Promise<{ continued: boolean; status: number | undefined }>((resolve, reject) => {
          let continued = false;
          const outgoing = httpRequest(`${server.url}/api/v1/configs`, {
            method: 'POST',
            headers: {
              'X-API-Key': tenant.apiKey,
              'Content-Type': 'application/json',
              'Content-Length': length,
              Expect: '100-continue',
            },
          });
          outgoing.on('continue', () => {
            continued = true;
            outgoing.end('x'.repeat(length));
          });
          outgoing.on('response', (response) => {
            response.resume();
            resolve({ continued, status: response.statusCode });
            outgoing.destroy();
          });
          outgoing.on('error', reject);
          outgoing.flushHeaders();
        });
      expect(await ask(10)).to.deep.equal({ continued: true, status: 400 });
      expect(await ask(2 * 1024 * 1024)).to.deep.equal({ continued: false, status: 413 });
    });

    it('takes a message of 100 kB whole', async () => {
      const { status } = await tenant.client.chat(configId, { message: 'wörd '.repeat(20_000) });
      expect(status).to.equal(200);
    });
  });

  describe('in the fields', () => {
    it('lists every fault at once, unknown fields and unfit text among them', async () => {
      const { status, body } = await tenant.client.post('/api/v1/configs', {
        name: 5,
        system_prompt: 'a\u0000b',
        model_config: { provider: 'nobody', temperature: 'hot', messages: [], apiKey: 'k' },
        tools_config: [{ name: 'a b' }, { name: 'x', parameters: { type: 'objekt' } }, 'y', 'y'],
        metadata: [],
        colour: 'red',
      });
      expect(status).to.equal(422);
      expect(Object.keys(faultsOf(body)).sort()).to.deep.equal([
        'colour',
        'metadata',
        'model_config.apiKey',
        'model_config.messages',
        'model_config.model',
        'model_config.provider',
        'model_config.temperature',
        'name',
        'system_prompt',
        'tools_config.0.name',
        'tools_config.1.parameters',
        'tools_config.3',
      ]);
    });

    const CONFIGS: [what: string, body: Json, path: string][] = [
      ['an empty name', { ...whole, name: '' }, 'name'],
      ['a blank name', { ...whole, name: ' ' }, 'name'],
      ['a name of 201 characters', { ...whole, name: 'x'.repeat(201) }, 'name'],
      ['a sandboxed agent', { ...whole, agent_type: 'sandboxed' }, 'agent_type'],
      ['a prompt that is too long', { ...whole, system_prompt: 'x'.repeat(200_001) }, 'system_prompt'],
      ['no model_config', { name: 'x' }, 'model_config'],
      ['metadata over 16 KiB', { ...whole, metadata: { x: 'y'.repeat(16_400) } }, 'metadata'],
      [
        'a negative max_tokens',
        { ...whole, model_config: { ...whole.model_config, max_tokens: -1 } },
        'model_config.max_tokens',
      ],
      ['a nested NUL', { ...whole, metadata: { a: [{ b: 'x\u0000' }] } }, 'metadata.a.0.b'],
      ['a lone surrogate', { ...whole, metadata: { a: '\ud800' } }, 'metadata.a'],
      ['a lone surrogate in a key', { ...whole, metadata: { '\udfff': 1 } }, 'metadata'],
      [
        'NUL in a model parameter',
        { ...whole, model_config: { ...whole.model_config, stop: '\u0000' } },
        'model_config.stop',
      ],
      [
        'a tool of which the parameters are a list',
        { ...whole, tools_config: [{ name: 'x', parameters: [] }] },
        'tools_config.0.parameters',
      ],
      [
        'a tool that takes no object',
        { ...whole, tools_config: [{ name: 'x', parameters: { type: 'string' } }] },
        'tools_config.0.parameters',
      ],
      ['a tool that is a number', { ...whole, tools_config: [7] }, 'tools_config.0'],
    ];
    for (const [what, body, path] of CONFIGS) {
      it(`answers 422 to a config with ${what}`, async () => {
        const reply = await tenant.client.post('/api/v1/configs', body);
        expect(reply.status).to.equal(422);
        expect(Object.keys(faultsOf(reply.body))).to.deep.equal([path]);
      });
    }

    it('lists every parameter that would change who is asked, what, or how it is counted', async () => {
      const names = [
        ...['api_key', 'base_url', 'headers', 'messages', 'system', 'tools', 'stream', 'stream_options', 'n'],
        ...[
          'store',
          'metadata',
          'service_tier',
          'web_search_options',
          'baseURL',
          'Extra-Headers',
          'mcp_servers',
        ],
      ];
      const model_config = { ...whole.model_config, ...Object.fromEntries(names.map((name) => [name, 1])) };
      const { body } = await tenant.client.post('/api/v1/configs', { ...whole, model_config });
      expect(Object.keys(faultsOf(body))).to.have.members(names.map((name) => `model_config.${name}`));
    });

    it('passes on parameters that it does not know', async () => {
      const model_config = { ...whole.model_config, tool_choice: 'auto', top_k: 3, thinking: { x: 1 } };
      const { status, body } = await tenant.client.post('/api/v1/configs', { ...whole, model_config });
      expect(status).to.equal(201);
      expect(body.model_config).to.deep.equal(model_config);
    });

    it('says that sandboxed agents cannot run here', async () => {
      const { body } = await tenant.client.post('/api/v1/configs', { ...whole, agent_type: 'sandboxed' });
      expect(faultsOf(body).agent_type).to.match(/sandboxed/);
    });

    it('refuses __proto__, numbers out of range and deep nesting', async () => {
      const texts = [
        '{"__proto__":{"x":1},"message":"Hi"}',
        '{"message":"Hi","metadata":{"__proto__":1}}',
        '{"message":"Hi","metadata":{"x":1e999}}',
        `{"message":"Hi","metadata":{"x":${'['.repeat(200_000)}${']'.repeat(200_000)}}}`,
      ];
      for (const text of texts) {
        const { status, body } = await send(text, 'application/json', `/api/v1/chat/${configId}`);
        expect([status, body.code]).to.deep.equal([422, 'validation_failed']);
      }
    });

    it('never answers a bad megabyte with more than a hundred faults', async () => {
      const message = 'Hi';
      const junk = Object.fromEntries(Array.from({ length: 3000 }, (_, index) => [`f${index}`, 1]));
      const { body } = await tenant.client.chat(configId, { message, ...junk });
      expect(body.errors).to.have.length(100);
    });

    it('looks at no entry of a field that has too many', async () => {
      const vars = Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`v${index}`, 'x']));
      const { body } = await tenant.client.chat(configId, { message: 'Hi', template_vars: vars });
      expect(Object.keys(faultsOf(body))).to.deep.equal(['template_vars']);
      const tools = await tenant.client.post('/api/v1/configs', {
        ...whole,
        tools_config: Array(50_000).fill(1),
      });
      expect(Object.keys(faultsOf(tools.body))).to.deep.equal(['tools_config']);
    });

    it('counts characters as people do: 200 emoji are a name, 201 are not', async () => {
      const post = (name: string) => tenant.client.post('/api/v1/configs', { ...whole, name });
      expect((await post('🙂'.repeat(200))).status).to.equal(201);
      expect(Object.keys(faultsOf((await post('🙂'.repeat(201))).body))).to.deep.equal(['name']);
    });

    it('refuses a number that JavaScript would change', async () => {
      const text = '{"message":"Hi","metadata":{"order":12345678901234567890}}';
      const { body } = await send(text, 'application/json', `/api/v1/chat/${configId}`);
      expect(Object.keys(faultsOf(body))).to.deep.equal(['metadata.order']);
    });

    const CHATS: [what: string, body: Json, path: string][] = [
      ['nothing in it', {}, ''],
      ['an empty message', { message: '' }, 'message'],
      ['a blank message', { message: ' \n\t' }, 'message'],
      ['a message that is a number', { message: 5 }, 'message'],
      ['NUL in the message', { message: 'a\u0000' }, 'message'],
      ['a lone surrogate in the message', { message: 'a\udc00b' }, 'message'],
      ['a reserved template name', { message: 'x', template_vars: { date: 'now' } }, 'template_vars.date'],
      ['an impossible template name', { message: 'x', template_vars: { 'a-b': '' } }, 'template_vars.a-b'],
      ['a template value that is an object', { message: 'x', template_vars: { a: {} } }, 'template_vars.a'],
      ['a user of 201 characters', { message: 'x', user: 'u'.repeat(201) }, 'user'],
      ['no tool results', { conversation_id: UNKNOWN, tool_results: [] }, 'tool_results'],
      [
        'tool results without a conversation',
        { tool_results: [{ name: 'a', content: '' }] },
        'conversation_id',
      ],
      [
        'both content and result',
        { conversation_id: UNKNOWN, tool_results: [{ name: 'a', content: '', result: '' }] },
        'tool_results.0',
      ],
      [
        'neither content nor result',
        { conversation_id: UNKNOWN, tool_results: [{ name: 'a' }] },
        'tool_results.0',
      ],
      [
        'NUL in a tool result',
        { conversation_id: UNKNOWN, tool_results: [{ name: 'a', content: { x: '\u0000' } }] },
        'tool_results.0.content.x',
      ],
      ['a stream that is a word', { message: 'x', stream: 'yes' }, 'stream'],
    ];
    for (const [what, body, path] of CHATS) {
      it(`answers 422 to a chat with ${what}`, async () => {
        const reply = await tenant.client.chat(configId, body);
        expect(reply.status, reply.text).to.equal(422);
        expect(Object.keys(faultsOf(reply.body))).to.deep.equal([path]);
      });
    }

    it('refuses a message together with tool results', async () => {
      const { body } = await tenant.client.chat(configId, {
        message: 'x',
        conversation_id: UNKNOWN,
        tool_results: [{ name: 'a', content: '' }],
      });
      expect(Object.keys(faultsOf(body))).to.deep.equal(['']);
    });

    const QUERIES: [path: string, fault: string][] = [
      ['/api/v1/configs?limit=0', 'limit'],
      ['/api/v1/configs?limit=101', 'limit'],
      ['/api/v1/configs?limit=ten', 'limit'],
      ['/api/v1/configs?limit=1&limit=2', 'limit'],
      ['/api/v1/configs?cursor=nonsense', 'cursor'],
      ['/api/v1/configs?colour=red', 'colour'],
      ['/api/v1/conversations?config_id=x', 'config_id'],
      ['/api/v1/logs?status=fine', 'status'],
      ['/api/v1/logs?since=yesterday', 'since'],
      ['/api/v1/logs?until=2026-02-30', 'until'],
      ['/api/v1/usage?group_by=user', 'group_by'],
      ['/api/v1/me?x=1', 'x'],
      ['/api/v1/conversations?user=a%00b', 'user'],
      ['/api/v1/conversations?user=%ED%A0%80', 'user'],
      ['/api/v1/logs?status=ok&user=%FF', 'user'],
    ];
    for (const [path, fault] of QUERIES) {
      it(`answers 422 to ${path}`, async () => {
        const { status, body } = await tenant.client.get(path);
        expect(status).to.equal(422);
        expect(Object.keys(faultsOf(body))).to.deep.equal([fault]);
      });
    }

    it('reads a query as it is escaped, a % that escapes nothing as itself', async () => {
      const { body } = await tenant.client.chat(configId, { message: 'Hi', user: 'Jürgen 100%' });
      for (const user of ['J%C3%BCrgen+100%', 'J%c3%bcrgen%20100%25']) {
        const found = await tenant.client.get(`/api/v1/conversations?user=${user}`);
        expect((found.body.data as Json[]).map(({ id }) => id)).to.deep.equal([body.conversation_id]);
      }
    });

    it('names a field that no answer can hold as far as it can', async () => {
      const odd = await tenant.client.post('/api/v1/configs', { ...whole, '\u0000\ud800': 1 });
      expect(odd.text).not.to.match(/\\u0000|\\ud800/i);
      expect(faultsOf(odd.body)).to.have.property('\ufffd\ufffd', 'Unknown field');
      const cut = { [`${'a'.repeat(63)}🙂`]: 'x' };
      const { text: answer } = await tenant.client.chat(configId, { message: 'Hi', template_vars: cut });
      expect(answer).not.to.match(/\\ud83d/i);
    });

    it('takes times as dates and with any offset', async () => {
      for (const since of ['2026-01-01', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00.5+02:00']) {
        const plain = await tenant.client.get(`/api/v1/logs?since=${since}`);
        expect(plain.status).to.equal(200);
        expect((await tenant.client.get(`/api/v1/usage?until=${encodeURIComponent(since)}`)).status).to.equal(
          200,
        );
      }
    });

    it('lists the faults of a tenant and of a key', async () => {
      const made = await server.admin.post('/api/v1/admin/tenants', {
        limits: { requests_per_minute: -1, providers: ['nobody'], unknown: 1 },
      });
      expect(Object.keys(faultsOf(made.body)).sort()).to.deep.equal([
        'limits.providers.0',
        'limits.requests_per_minute',
        'limits.unknown',
        'name',
      ]);
      const key = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, {
        name: '',
        scopes: ['all'],
        expires_at: 'never',
      });
      expect(Object.keys(faultsOf(key.body)).sort()).to.deep.equal(['expires_at', 'name', 'scopes.0']);
      const past = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, {
        name: 'x',
        expires_at: '2001-01-01T00:00:00Z',
      });
      expect(Object.keys(faultsOf(past.body))).to.deep.equal(['expires_at']);
    });

    it('bounds metadata that grows by patches', async () => {
      const { client } = await server.createTenant();
      const id = await server.createConfig(client, { metadata: { a: 'x'.repeat(10_000) } });
      const patched = await client.patch(`/api/v1/configs/${id}`, { metadata: { b: 'x'.repeat(10_000) } });
      expect(patched.status).to.equal(422);
      const replaced = await client.patch(`/api/v1/configs/${id}`, {
        metadata: { a: null, b: 'x'.repeat(10_000) },
      });
      expect(replaced.status).to.equal(200);
    });

    it('finds the same faults in a body whether its id is malformed or unknown', async () => {
      for (const id of [UNKNOWN, 'x']) {
        const { status } = await tenant.client.patch(`/api/v1/configs/${id}`, { colour: 'red' });
        expect(status).to.equal(422);
      }
    });

    it('answers a malformed id exactly as an unknown one', async () => {
      const body = JSON.stringify({ message: 'Hi' });
      const digests = new Set<string>();
      for (const id of [
        UNKNOWN,
        'x',
        '%00',
        '..%2f..',
        UNKNOWN.toUpperCase(),
        '018f0000-0000-4000-8000-000000000000',
      ]) {
        for (const path of [`/api/v1/configs/${id}`, `/api/v1/conversations/${id}`]) {
          const { status, text } = await server.fetch(path, {
            headers: { 'X-API-Key': tenant.apiKey, 'X-Request-Id': 'same' },
          });
          expect(status, path).to.equal(404);
          digests.add(createHash('sha256').update(text).digest('hex'));
        }
        const chat = await server.fetch(`/api/v1/chat/${id}`, {
          method: 'POST',
          headers: { 'X-API-Key': tenant.apiKey, 'X-Request-Id': 'same', 'Content-Type': 'application/json' },
          body,
        });
        digests.add(createHash('sha256').update(chat.text).digest('hex'));
        const inBody = await tenant.client.chat(configId, { message: 'Hi', conversation_id: id });
        expect(inBody.status).to.equal(404);
      }
      expect(digests.size).to.equal(1);
    });
  });
});
