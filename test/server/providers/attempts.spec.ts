import { once } from 'node:events';
import { createServer } from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import { expect } from 'chai';
import { createProviders } from '../../../server/providers/registry.ts';
import { createTransport, exchangeOf } from '../../../server/providers/transport.ts';
import { type Answer, startUpstream, type Upstream } from '../../support/upstream.ts';
import { ask, collect, endpointsAt, fault, KEY, type Rig, rigFor, textOf } from './support.ts';

/** Where a test asks for no wait at all. */
const AT_ONCE = { 'retry-after-ms': '1' };

describe('attempts at a provider', () => {
  let upstream: Upstream;
  let rig: Rig;
  beforeEach(async () => {
    upstream = await startUpstream();
    rig = rigFor(upstream);
  });
  afterEach(async () => {
    await rig.transport.close();
    await upstream.close();
  });

  const repeated: [string, Answer][] = [
    ['408', { status: 408, headers: AT_ONCE }],
    ['409', { status: 409, headers: AT_ONCE }],
    ['400 that says so', { status: 400, headers: { ...AT_ONCE, 'x-should-retry': 'true' } }],
    ['a date that has passed', { status: 503, headers: { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' } }],
  ];
  for (const [what, answer] of repeated) {
    it(`are repeated after ${what}`, async () => {
      upstream.script(answer, { text: 'Here.' });
      expect(textOf(await collect(rig.provider('openai', 1), ask()))).to.equal('Here.');
    });
  }

  it('are repeated after a connection that broke before the answer, a moment later', async () => {
    upstream.script({ closeAfter: 'request' }, { text: 'Here.' });
    expect(textOf(await collect(rig.provider('openai', 1), ask()))).to.equal('Here.');
    expect(upstream.requests).to.have.length(2);
  });

  it('are not repeated where the provider says no', async () => {
    upstream.script({ status: 500, headers: { ...AT_ONCE, 'x-should-retry': 'false' } });
    expect((await fault(rig.provider('openai', 2))).code).to.equal('upstream_unavailable');
    expect(upstream.requests).to.have.length(1);
  });

  it('leave their connection to the next one, also where they were refused', async () => {
    upstream.script({ status: 500, headers: AT_ONCE }, { status: 500, headers: AT_ONCE }, { text: 'Here.' });
    await collect(rig.provider('openai', 2), ask());
    expect(upstream.connections).to.equal(1);
  });
});

describe('a stream whose end has been told', () => {
  it('says nothing more', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      const chunk = (text: string, finish: string | null): string =>
        `data: ${JSON.stringify({ choices: [{ delta: { content: text }, finish_reason: finish }] })}\n\n`;
      const body = `${chunk('Here.', 'stop')}data: [DONE]\n\n${chunk(' And more.', null)}data: broken\n\n`;
      socket.once('data', () =>
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const transport = createTransport({ connectTimeoutMs: 1_000, idleTimeoutMs: 5_000 });
    const baseUrl = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    const upstream = await startUpstream();
    const endpoints = { ...endpointsAt(upstream), openai: { apiKey: KEY, baseUrl } };
    try {
      const provider = createProviders({ endpoints, retries: 0 }, transport).get('openai');
      expect(textOf(await collect(provider, ask()))).to.equal('Here.');
    } finally {
      await transport.close();
      await upstream.close();
      server.close();
    }
  });
});

describe('an answer that nobody reads', () => {
  it('stays with the provider but for a little, and comes when it is read', async () => {
    // More than the system keeps for a connection.
    const bytes = 32 * 1024 * 1024;
    let isSent = false;
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes}\r\n\r\n`);
        socket.write(Buffer.alloc(bytes), () => {
          isSent = true;
        });
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const transport = createTransport({ connectTimeoutMs: 1_000, idleTimeoutMs: 5_000 });
    try {
      const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`;
      const answer = exchangeOf(await transport.post({ url, headers: {}, body: '{}', signal: null }));
      // As many rounds as the whole answer would take.
      for (let round = 0; round < 1_000; round += 1) await nextRound();
      expect(isSent).to.equal(false);
      let read = 0;
      for (let piece = await answer.read(); piece !== null; piece = await answer.read()) read += piece.length;
      expect(read).to.equal(bytes);
    } finally {
      await transport.close();
      server.close();
    }
  });
});
