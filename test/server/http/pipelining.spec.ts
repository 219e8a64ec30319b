import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import Koa from 'koa';
import { createListener, type Listener } from '../../../server/http/listener.ts';
import type { RequestState } from '../../../server/http/state.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { createIds } from '../../../tenant-schema/ids.ts';
import { startTestServer } from '../../support/http.ts';
import { createGate, type Gate, startUpstream } from '../../support/upstream.ts';

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

/** The answers to several requests on one connection: a line for each. */
const answersIn = (bytes: string): string[] =>
  [
    ...bytes.matchAll(
      /HTTP\/1\.1 (\d+).*?Connection: ([\w-]+).*?\r\n\r\n(?:(\/\w)|.*?"request_id":"(\w+)")/gs,
    ),
  ].map(([, status, connection, path, id]) => `${status} ${path ?? id} ${connection}`);

describe('requests that are sent without a wait for the answers before them', () => {
  let listener: Listener;
  let client: Socket;
  /** What is asked for is answered once its gate is open. */
  let gates: Record<string, Gate>;
  let responses: ServerResponse[];

  /** Sends these bytes, and resolves when so many requests have come. */
  const send = async (bytes: string, requests: number): Promise<void> => {
    client.write(bytes);
    while (responses.length < requests) await once(listener.server, 'request');
  };

  beforeEach(async () => {
    gates = { '/a': createGate(), '/b': createGate() };
    responses = [];
    listener = createListener(createIds(systemClock), () => '');
    const app = new Koa<RequestState>();
    app.use(async (ctx) => {
      responses.push(ctx.res);
      await gates[ctx.path]?.pass();
      ctx.body = ctx.path;
    });
    listener.serve(app);
    listener.server.listen(0, '127.0.0.1');
    await once(listener.server, 'listening');
    client = connect((listener.server.address() as AddressInfo).port, '127.0.0.1');
  });
  afterEach(() => {
    client.destroy();
    listener.server.closeAllConnections();
    listener.server.close();
  });

  it('are all answered, in their order, before what is no HTTP behind them ends the connection', async () => {
    await send(`${get('/a')}${get('/b')}GARBAGE\r\n\r\n`, 2);
    gates['/b']?.open();
    gates['/a']?.open();
    expect(answersIn(await text(client))).to.deep.equal(['200 /a keep-alive', '200 /b close']);
  });

  it('are answered before one among them whose body breaks off into no HTTP', async () => {
    const broken =
      'POST /b HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n';
    await send(`${get('/a')}${broken}`, 2);
    gates['/a']?.open();
    expect(answersIn(await text(client))).to.deep.equal(['200 /a keep-alive', '400 mine close']);
  });

  it('are closed where a request for a tunnel comes behind them, whose refusal is not theirs', async () => {
    await send(`${get('/a')}${get('/b')}CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n`, 2);
    expect(await text(client)).to.equal('');
    await listener.answered();
  });

  it('are all answered by a server that stops', async () => {
    await send(get('/a') + get('/b'), 2);
    listener.endConnections();
    const answered = listener.answered();
    gates['/a']?.open();
    gates['/b']?.open();
    expect(answersIn(await text(client))).to.deep.equal(['200 /a keep-alive', '200 /b close']);
    await answered;
  });

  it('are closed, each once, when their client leaves', async () => {
    await send(get('/a') + get('/b'), 2);
    const closed: string[] = [];
    for (const response of responses) {
      response.on('close', () => closed.push(`${response.req.url} ${response.closed}`));
    }
    client.destroy();
    await listener.answered();
    expect(closed).to.have.members(['/a true', '/b true']);
  });

  it('are turns that end when their client leaves', async () => {
    const upstream = await startUpstream();
    const server = await startTestServer({
      env: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: upstream.openaiUrl },
    });
    try {
      const tenant = await server.createTenant();
      const config = await server.createConfig(tenant.client, {
        model_config: { provider: 'openai', model: 'm' },
      });
      upstream.respond(() => ({ text: 'Hello', hangAfter: 'request' }));
      const body = '{"message":"Hi"}';
      const turn = `POST /api/v1/chat/${config} HTTP/1.1\r\nHost: x\r\nX-API-Key: ${tenant.apiKey}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const { port, hostname } = new URL(server.url);
      const leaving = connect(Number(port), hostname);
      leaving.write(turn + turn);
      await upstream.received(2);
      leaving.destroy();
      await upstream.aborted(2);
    } finally {
      await server.stop();
      await upstream.close();
    }
  });
});
