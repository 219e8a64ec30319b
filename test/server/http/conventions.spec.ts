import { once } from 'node:events';
import { connect } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { expect } from 'chai';
import { allEndpoints } from '../../../server/endpoints/index.ts';
import { startTestServer, type TestServer } from '../../support/http.ts';

const ID = '018f0000-0000-7000-8000-000000000000';

/** Sends bytes as they are and gives what comes back until the server ends the connection. */
async function raw(url: string, bytes: string): Promise<string> {
  const { port, hostname } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(bytes);
  return readText(socket);
}

describe('the conventions', () => {
  let server: TestServer;

  before(async () => {
    server = await startTestServer();
  });
  after(() => server.stop());

  describe('request ids', () => {
    it('keeps a valid one of the client, in the answer and in the log', async () => {
      const reply = await server.fetch('/nowhere', { headers: { 'X-Request-Id': 'abc.DEF:1-2_3' } });
      expect(reply.headers.get('x-request-id')).to.equal('abc.DEF:1-2_3');
      expect(reply.body.request_id).to.equal('abc.DEF:1-2_3');
      await server.fetch('/healthz');
      expect(server.logs().map((line) => line.request_id)).to.include('abc.DEF:1-2_3');
    });

    for (const given of ['', 'a b', 'ä', 'x'.repeat(129), '<script>']) {
      it(`makes one of its own in place of ${JSON.stringify(given.slice(0, 20))}`, async () => {
        const { headers } = await server.fetch('/healthz', {
          headers: { 'X-Request-Id': Buffer.from(given, 'utf8').toString('latin1') },
        });
        expect(headers.get('x-request-id')).to.match(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      });
    }

    it('answers what is no HTTP with a problem that has one too', async () => {
      const answer = await raw(server.url, 'GARBAGE\r\n\r\n');
      expect(answer).to.match(/^HTTP\/1\.1 400 /);
      const [head = '', body = ''] = answer.split('\r\n\r\n');
      const id = /X-Request-Id: (\S+)/.exec(head)?.[1];
      expect(JSON.parse(body)).to.include({ status: 400, request_id: id });
    });

    const BEHIND = 'Host: x\r\nX-Request-Id: mine\r\n';
    const REFUSED: [what: string, bytes: string, status: number][] = [
      ['a request without a host', 'GET /healthz HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n', 400],
      ['an address that is none', `GET http://[::1 HTTP/1.1\r\n${BEHIND}\r\n`, 400],
      ['a request for a tunnel', `CONNECT example.com:443 HTTP/1.1\r\n${BEHIND}\r\n`, 405],
    ];
    for (const [what, bytes, status] of REFUSED) {
      it(`answers ${what} with a problem that has its id`, async () => {
        const [head = '', body = ''] = (await raw(server.url, bytes)).split('\r\n\r\n');
        expect(head)
          .to.match(new RegExp(`^HTTP/1\\.1 ${status} `))
          .and.to.match(/X-Request-Id: mine/i);
        expect(head).to.match(/Content-Type: application\/problem\+json/i);
        expect(JSON.parse(body)).to.include({ status, request_id: 'mine' });
        if (status === 405) expect(head).to.match(/Allow: .*GET/);
      });
    }

    it('answers a body that breaks off into no HTTP with a problem too', async () => {
      const { apiKey } = await server.createTenant();
      const answer = await raw(
        server.url,
        `POST /api/v1/configs HTTP/1.1\r\n${BEHIND}X-API-Key: ${apiKey}\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n`,
      );
      expect(answer)
        .to.match(/^HTTP\/1\.1 400 /)
        .and.to.match(/"request_id":"mine"/);
    });

    it('answers a request also where what comes behind it is no HTTP', async () => {
      const answer = await raw(server.url, `GET /api/v1/me HTTP/1.1\r\n${BEHIND}\r\nGARBAGE\r\n\r\n`);
      expect(answer)
        .to.match(/^HTTP\/1\.1 401 /)
        .and.to.match(/"request_id":"mine"/)
        .and.to.match(/Connection: close/i);
    });

    it('answers headers without end with 431', async () => {
      const answer = await raw(server.url, `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`);
      expect(answer)
        .to.match(/^HTTP\/1\.1 431 /)
        .and.to.match(/X-Request-Id/);
    });
  });

  describe('routes', () => {
    it('answers 404 route_not_found to a path that is none', async () => {
      for (const path of [
        '/',
        '/api/v1',
        '/api/v2/configs',
        '/API/v1/configs',
        '/api/v1/configs/a/b/c',
        '/docs/assets/x',
      ]) {
        const { status, body } = await server.fetch(path);
        expect([status, body.code], path).to.deep.equal([404, 'route_not_found']);
      }
    });

    it('answers 405 with the methods that a path has', async () => {
      const { status, body, headers } = await server.fetch(`/api/v1/configs/${ID}`, { method: 'PUT' });
      expect([status, body.code]).to.deep.equal([405, 'method_not_allowed']);
      expect(headers.get('allow')).to.equal('DELETE, GET, HEAD, OPTIONS, PATCH');
      const options = await server.fetch('/api/v1/configs', { method: 'OPTIONS' });
      expect([options.status, options.headers.get('allow')]).to.deep.equal([204, 'GET, HEAD, OPTIONS, POST']);
    });

    it('answers HEAD as GET without a body', async () => {
      const { status, text } = await server.fetch('/healthz', { method: 'HEAD' });
      expect([status, text]).to.deep.equal([200, '']);
    });
  });

  describe('headers', () => {
    it('keep browsers from storing, sniffing and framing answers', async () => {
      for (const path of ['/healthz', '/nowhere', '/api/v1/configs']) {
        const { headers } = await server.fetch(path);
        expect(headers.get('cache-control')).to.equal('no-store');
        expect(headers.get('x-content-type-options')).to.equal('nosniff');
        expect(headers.get('content-security-policy')).to.equal("default-src 'none';frame-ancestors 'none'");
        expect(headers.get('strict-transport-security')).to.equal(null);
        expect(headers.get('x-powered-by')).to.equal(null);
      }
    });

    it('let no page of another origin in unless the operator says so', async () => {
      const { headers } = await server.fetch('/healthz', { headers: { Origin: 'https://app.example' } });
      expect(headers.get('access-control-allow-origin')).to.equal(null);
    });

    it('let in pages of the origins that the operator names, without cookies, errors too', async () => {
      const open = await startTestServer({ env: { CORS_ORIGINS: 'https://app.example' } });
      try {
        const ask = (origin: string, init: RequestInit = {}) =>
          open.fetch('/api/v1/configs', { ...init, headers: { ...init.headers, Origin: origin } });
        const allowed = await ask('https://app.example');
        expect(allowed.status).to.equal(401);
        expect(allowed.headers.get('access-control-allow-origin')).to.equal('https://app.example');
        expect(allowed.headers.get('access-control-allow-credentials')).to.equal(null);
        const preflight = await ask('https://app.example', {
          method: 'OPTIONS',
          headers: { 'Access-Control-Request-Method': 'POST' },
        });
        expect(preflight.status).to.equal(204);
        expect(preflight.headers.get('access-control-allow-headers')).to.include('X-API-Key');
        const other = await ask('https://evil.example');
        expect(other.headers.get('access-control-allow-origin')).to.equal(null);
      } finally {
        await open.stop();
      }
    });
  });

  describe('load shedding', () => {
    it('answers 503 overloaded while the loop is late, but not to what watches the server', async () => {
      let late = true;
      const busy = await startTestServer({ overloaded: () => late });
      try {
        const { status, body, headers } = await busy.fetch('/api/v1/me');
        expect([status, body.code, headers.get('retry-after')]).to.deep.equal([503, 'overloaded', '1']);
        expect((await busy.fetch('/healthz')).status).to.equal(200);
        expect((await busy.fetch('/readyz')).status).to.equal(200);
        expect((await busy.admin.get('/metrics')).status).to.equal(200);
        late = false;
        expect((await busy.fetch('/api/v1/me')).status).to.equal(401);
      } finally {
        await busy.stop();
      }
    });

    it('says to new clients while it drains that it is not ready, and ends what has begun', async () => {
      const draining = await startTestServer();
      const { port, hostname } = new URL(draining.url);
      const begun = connect(Number(port), hostname);
      await once(begun, 'connect');
      begun.write(
        `POST /api/v1/admin/tenants HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nAuthorization: Bearer ${draining.adminToken}\r\n\r\n{"name":`,
      );
      // The request has arrived once another one, sent later, was answered.
      expect((await draining.fetch('/readyz')).status).to.equal(200);
      const closed = draining.close();

      expect((await draining.fetch('/healthz')).status).to.equal(200);
      const ready = await draining.fetch('/readyz');
      expect([ready.status, ready.body.detail]).to.deep.equal([503, 'The server is draining.']);
      expect(ready.headers.get('connection')).to.equal('close');
      const work = await draining.fetch('/api/v1/me');
      expect([work.status, work.body.code]).to.deep.equal([503, 'overloaded']);

      begun.write('"x"}');
      expect(await readText(begun))
        .to.match(/^HTTP\/1\.1 201 Created/)
        .and.to.match(/Connection: close/i);
      await closed;
      await draining.stop();
    });
  });

  describe('the server routes', () => {
    it('gives figures to the admin alone, and to everybody with METRICS_PUBLIC=1', async () => {
      expect((await server.fetch('/metrics')).status).to.equal(401);
      const { status, text, headers } = await server.admin.get('/metrics');
      expect(status).to.equal(200);
      expect(headers.get('content-type')).to.match(/^text\/plain/);
      expect(text)
        .to.match(/nimblesite_http_requests_total\{/)
        .and.to.match(/nodejs_eventloop_lag/);
      expect(text).to.match(/^nimblesite_pool_hits_total \d+$/m);
      const open = await startTestServer({ env: { METRICS_PUBLIC: '1' } });
      try {
        expect((await open.fetch('/metrics')).status).to.equal(200);
      } finally {
        await open.stop();
      }
    });

    it('labels figures with nothing that a tenant chooses', async () => {
      const { client } = await server.createTenant({ name: 'CANARY-TENANT' });
      const configId = await server.createConfig(client, {
        name: 'CANARY-CONFIG',
        model_config: { provider: 'demo', model: 'CANARY-MODEL' },
      });
      await client.chat(configId, { message: 'CANARY-MESSAGE', user: 'CANARY-USER' });
      await server.fetch('/CANARY-PATH', { method: 'DELETE' });
      const { text } = await server.admin.get('/metrics');
      expect(text).not.to.include('CANARY').and.not.to.include(configId);
      expect(text).to.match(/nimblesite_turns_total\{provider="demo",status="ok"\} 1/);
      expect(text).to.match(/route="\/api\/v1\/chat\/:config_id"/);
    });
  });

  describe('the description', () => {
    it('lists every endpoint, and every reference in it leads somewhere', async () => {
      const { status, text } = await server.fetch('/openapi.json');
      expect(status).to.equal(200);
      const document = JSON.parse(text);
      expect(document.openapi).to.equal('3.1.0');
      const listed = Object.entries<object>(document.paths).flatMap(([path, operations]) =>
        Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
      );
      const expected = allEndpoints({ metricsPublic: false }).map(
        ({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`,
      );
      expect(listed).to.have.members(expected);
      const references = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, reference]) => reference ?? '');
      expect(references.length).to.be.greaterThan(50);
      for (const reference of references) {
        const [root, ...path] = reference.split('/');
        expect(root).to.equal('#');
        const target = path.reduce<unknown>((node, key) => Reflect.get(Object(node), key), document);
        expect(target, reference).to.be.an('object');
      }
      const { chat } = { chat: document.paths['/api/v1/chat/{config_id}'].post };
      expect(Object.keys(chat.responses['200'].content)).to.deep.equal([
        'application/json',
        'text/event-stream',
      ]);
      expect(Object.keys(chat.responses)).to.include.members([
        '401',
        '403',
        '404',
        '409',
        '422',
        '502',
        '504',
      ]);
    });

    it('has a page that loads nothing from elsewhere', async () => {
      const { status, text, headers } = await server.fetch('/docs');
      expect(status).to.equal(200);
      expect(headers.get('content-security-policy')).to.include("script-src 'self'");
      expect(text)
        .not.to.match(/https?:|\/\//)
        .and.not.to.match(/<script>/);
      const assets = [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path ?? '');
      expect(assets).to.have.length(4);
      for (const path of assets) {
        const asset = await server.fetch(path);
        expect(asset.status, path).to.equal(200);
        expect(asset.text.length).to.be.greaterThan(0);
      }
    });
  });
});
