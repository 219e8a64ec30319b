import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import Koa from 'koa';
import { incomingFile } from '../../../server/http/files.ts';
import { createListener } from '../../../server/http/listener.ts';
import type { RequestState } from '../../../server/http/state.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { createIds } from '../../../tenant-schema/ids.ts';
import { temporaryFolder } from '../../support/tenants.ts';
import { createGate } from '../../support/upstream.ts';

const MIB = 1024 * 1024;

describe('the time that a request may take', () => {
  const LIMITS = { headersTimeout: 50, requestTimeout: 50, connectionsCheckingInterval: 10 };
  let folder: ReturnType<typeof temporaryFolder>;
  beforeEach(() => {
    folder = temporaryFolder();
  });
  afterEach(() => folder.remove());

  it('ends any that comes too slowly, but none whose body is a file, nor a file that is fetched slowly', async () => {
    const { server, serve } = createListener(createIds(systemClock), () => '', LIMITS);
    const app = new Koa<RequestState>();
    app.use(async (ctx) => {
      if (ctx.path === '/upload') {
        const file = incomingFile(ctx.req, ctx.res, MIB);
        await file.writeTo(join(folder.path, 'file'), async () => {});
      } else if (ctx.path === '/download') {
        ctx.body = Readable.from(
          (async function* () {
            yield 'first';
            await timedOut.pass();
            yield 'last';
          })(),
        );
        return;
      } else await once(ctx.req.resume(), 'end');
      ctx.body = 'done';
    });
    app.silent = true;
    serve(app);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const timedOut = createGate();
    const begin = (path: string) => {
      const outgoing = request({ host: '127.0.0.1', port, path, method: 'POST' });
      outgoing.on('error', () => {});
      outgoing.write('first');
      return { outgoing, answer: once(outgoing, 'response') as Promise<[IncomingMessage]> };
    };
    try {
      const download = request({ host: '127.0.0.1', port, path: '/download' }).end();
      const [fetched] = (await once(download, 'response')) as [IncomingMessage];
      const upload = begin('/upload');
      // A request that began later than those two, and is ended all the same.
      await once(server, 'request');
      const slow = begin('/other');
      const [refused] = await slow.answer;
      expect([refused.statusCode, JSON.parse(await text(refused)).code]).to.deep.equal([
        408,
        'request_timeout',
      ]);
      // The body is still not whole, but the connection ends.
      await once(refused.socket, 'close');
      timedOut.open();
      expect(await text(fetched)).to.equal('firstlast');
      upload.outgoing.end('last');
      const [accepted] = await upload.answer;
      expect([accepted.statusCode, await text(accepted)]).to.deep.equal([200, 'done']);
      expect(readFileSync(join(folder.path, 'file'), 'utf8')).to.equal('firstlast');
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

describe('a file on its way in', () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: Server;
  let received: Promise<[IncomingMessage, ServerResponse]>;
  beforeEach(async () => {
    folder = temporaryFolder();
    server = createServer().listen(0, '127.0.0.1');
    received = once(server, 'request') as Promise<[IncomingMessage, ServerResponse]>;
    await once(server, 'listening');
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
    folder.remove();
  });

  const send = (body: Buffer) => {
    const { port } = server.address() as AddressInfo;
    const outgoing = request({ host: '127.0.0.1', port, method: 'POST' });
    outgoing.on('error', () => {});
    outgoing.end(body);
    return outgoing;
  };

  it('is watched for a stall while it comes, and for nothing once it is there', async () => {
    send(Buffer.alloc(5 * MIB, 'x'));
    const [incoming, response] = await received;
    const path = join(folder.path, 'file');
    const timeouts: unknown[] = [];
    const told: number[] = [];
    await incomingFile(incoming, response, 10 * MIB).writeTo(path, async (bytes) => {
      told.push(bytes);
      timeouts.push(incoming.socket.timeout);
    });
    expect(timeouts[0]).to.equal(120_000);
    expect(incoming.socket.timeout, 'what is done with it may take longer').to.equal(0);
    expect(readFileSync(path).length).to.equal(5 * MIB);
    expect(told).to.have.length(2);
    expect([Number(told[0]) >= 4 * MIB, told[1]]).to.deep.equal([true, 5 * MIB]);
  });

  it('ends where whoever takes it has had enough, and the answer still gets through', async () => {
    const outgoing = send(Buffer.alloc(20 * MIB, 'x'));
    const [incoming, response] = await received;
    let told = 0;
    const enough = new Error('enough');
    const error = await incomingFile(incoming, response, 30 * MIB)
      .writeTo(join(folder.path, 'file'), async () => {
        told += 1;
        throw enough;
      })
      .catch((thrown: unknown) => thrown);
    expect([error, told, incoming.socket.timeout]).to.deep.equal([enough, 1, 0]);
    response.writeHead(507).end();
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(answer.statusCode).to.equal(507);
  });
});
