import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect } from 'chai';
import { incomingFile } from '../../../server/http/files.ts';
import { temporaryFolder } from '../../support/tenants.ts';

const MIB = 1024 * 1024;

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
