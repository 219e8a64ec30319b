import { createServer } from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import { expect } from 'chai';
import { createProviders } from '../../../server/providers/registry.ts';
import { createTransport, type Transport } from '../../../server/providers/transport.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { type Answer, createGate, startUpstream, type Upstream } from '../../support/upstream.ts';
import {
  ask,
  collect,
  endpointsAt,
  failure,
  fault,
  KEY,
  printed,
  type Rig,
  rigFor,
  textOf,
} from './support.ts';

/** Where a test asks for no wait at all: the SDKs would make up one of their own. */
const AT_ONCE = { 'retry-after-ms': '1' };

for (const name of ['openai', 'anthropic'] as const) {
  describe(`faults of the ${name} wire format`, () => {
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

    const rows: [string, Answer, string, string][] = [
      ['status 400', { status: 400 }, 'upstream_rejected', 'answered with status 400.'],
      ['status 401', { status: 401 }, 'upstream_rejected', 'answered with status 401.'],
      ['status 404', { status: 404 }, 'upstream_rejected', 'answered with status 404.'],
      ['status 429', { status: 429 }, 'upstream_rate_limited', 'answered with status 429.'],
      ['status 500', { status: 500 }, 'upstream_unavailable', 'answered with status 500.'],
      ['status 529', { status: 529 }, 'upstream_unavailable', 'answered with status 529.'],
      [
        'a redirect',
        { status: 302, headers: { location: '/v1/elsewhere' } },
        'upstream_invalid',
        'answered with status 302.',
      ],
      ['a close before the head', { closeAfter: 'request' }, 'upstream_unavailable', 'could not be reached.'],
      [
        'a close before the first piece',
        { text: 'x', closeAfter: 0 },
        'upstream_invalid',
        'sent a broken or unfinished answer.',
      ],
      [
        'a close after two pieces',
        { text: ['x', 'y', 'z'], closeAfter: 2 },
        'upstream_invalid',
        'sent a broken or unfinished answer.',
      ],
      [
        'broken JSON',
        { text: ['x', 'y'], brokenAfter: 1 },
        'upstream_invalid',
        'sent a broken or unfinished answer.',
      ],
      [
        'a clean end without a finish',
        { text: 'x', finish: null },
        'upstream_invalid',
        'sent a broken or unfinished answer.',
      ],
      [
        'an overload within the stream',
        { text: 'x', errorEvent: { after: 1, type: 'overloaded_error', message: 'busy' } },
        'upstream_unavailable',
        'reported an error within its answer.',
      ],
      [
        'an error of its own within the stream',
        {
          text: 'x',
          errorEvent: { after: 1, type: name === 'openai' ? 'server_error' : 'api_error', message: 'oops' },
        },
        'upstream_unavailable',
        'reported an error within its answer.',
      ],
      [
        'a rate limit within the stream',
        { text: 'x', errorEvent: { after: 1, type: 'rate_limit_error', message: 'slow' } },
        'upstream_rate_limited',
        'reported an error within its answer.',
      ],
      [
        'a refusal within the stream',
        { text: 'x', errorEvent: { after: 1, type: 'invalid_request_error', message: 'bad' } },
        'upstream_rejected',
        'reported an error within its answer.',
      ],
    ];
    for (const [what, answer, code, words] of rows) {
      it(`answers ${what} with ${code}`, async () => {
        upstream.script(answer);
        const error = await fault(rig.provider(name));
        expect(error.code).to.equal(code);
        expect(error.message).to.equal(`The provider "${name}" ${words}`);
      });
    }

    it('answers a refused connection with upstream_unavailable', async () => {
      await upstream.close();
      expect((await fault(rig.provider(name))).code).to.equal('upstream_unavailable');
    });

    for (const hangAfter of ['request', 0, 2] as const) {
      it(`answers silence after ${hangAfter} with upstream_timeout`, async () => {
        const hasty = rigFor(upstream, 60);
        upstream.script({ text: ['x', 'y', 'z'], hangAfter });
        const error = await fault(hasty.provider(name));
        await hasty.transport.close();
        expect(error.code).to.equal('upstream_timeout');
        expect(error.message).to.equal(`The provider "${name}" did not answer in time.`);
      });
    }

    const waits: [Record<string, string>, number][] = [
      [{ 'retry-after': '7' }, 7],
      [{ 'retry-after': '0' }, 1],
      [{ 'retry-after-ms': '1500' }, 2],
      [{ 'retry-after': 'Wed, 21 Oct 2026 07:28:30 GMT', date: 'Wed, 21 Oct 2026 07:28:00 GMT' }, 30],
      [{ 'retry-after': 'soon' }, 5],
      [{}, 5],
    ];
    for (const [headers, seconds] of waits) {
      it(`tells to try again after ${seconds} s where the provider says ${JSON.stringify(headers)}`, async () => {
        upstream.script({ status: 429, headers });
        expect((await fault(rig.provider(name))).details).to.deep.equal({ retryAfterSeconds: seconds });
      });
    }

    for (const status of [429, 500, 529]) {
      it(`tries again after a ${status} when it was told to, and gives the answer`, async () => {
        upstream.script({ status, headers: AT_ONCE }, { text: 'Here.' });
        expect(textOf(await collect(rig.provider(name, 2), ask()))).to.equal('Here.');
        expect(upstream.requests).to.have.length(2);
        expect(upstream.requests[1]?.body).to.deep.equal(upstream.requests[0]?.body);
      });
    }

    it('gives up after the set number of retries and does not repeat what was refused', async () => {
      upstream.script(
        { status: 500, headers: AT_ONCE },
        { status: 500, headers: AT_ONCE },
        { status: 500, headers: AT_ONCE },
      );
      expect((await fault(rig.provider(name, 2))).code).to.equal('upstream_unavailable');
      expect(upstream.requests).to.have.length(3);
      upstream.script({ status: 400 });
      await fault(rig.provider(name, 2));
      expect(upstream.requests).to.have.length(4);
    });

    it('does not wait in silence for a provider that asks for a minute', async () => {
      upstream.script({ status: 429, headers: { 'retry-after': '61' } });
      expect((await fault(rig.provider(name, 2))).details).to.deep.equal({ retryAfterSeconds: 61 });
      expect(upstream.requests).to.have.length(1);
    });

    it('does not repeat a call whose answer had begun', async () => {
      upstream.script({ text: ['x', 'y'], closeAfter: 1 });
      await fault(rig.provider(name, 2));
      expect(upstream.requests).to.have.length(1);
    });

    const echoes: Answer[] = [
      { status: 401, errorMessage: 'canary words', echoKey: true },
      { status: 429, errorMessage: 'canary words', echoKey: true },
      { status: 500, errorMessage: 'canary words', echoKey: true },
      {
        text: 'x',
        errorEvent: { after: 1, type: 'api_error', message: `canary words: key ${KEY}\n    at ${KEY}` },
      },
    ];
    for (const [index, answer] of echoes.entries()) {
      it(`keeps the provider's words for the log, without the key and the headers (${index})`, async () => {
        upstream.script(answer);
        const error = await fault(rig.provider(name));
        expect(error.message).not.to.contain('canary');
        expect(printed(error.cause)).to.contain('canary words').and.to.contain('[redacted]');
        expect(printed(error)).not.to.contain(KEY);
        expect(printed(error)).not.to.match(/content-type|authorization|x-api-key|127\.0\.0\.1/i);
      });
    }

    it('prints nothing to the terminal, whatever goes wrong', async () => {
      const written: string[] = [];
      const { write: stdout } = process.stdout;
      const { write: stderr } = process.stderr;
      const record = (chunk: string | Uint8Array): boolean => {
        written.push(String(chunk));
        return true;
      };
      upstream.script(...rows.map(([, answer]) => answer), { text: 'x' });
      process.stdout.write = record;
      process.stderr.write = record;
      try {
        for (const _ of rows) await fault(rig.provider(name));
        await collect(
          rig.provider(name),
          ask({ model: 'claude-2.1', parameters: { thinking: { type: 'enabled' } } }),
        );
      } finally {
        process.stdout.write = stdout;
        process.stderr.write = stderr;
      }
      expect(written).to.deep.equal([]);
    });

    it('closes the upstream connection when aborted before the first byte, and throws the reason', async () => {
      const abort = new AbortController();
      const reason = new Error('client gone');
      upstream.script({ hangAfter: 'request' });
      const failed = failure(rig.provider(name, 2), ask(), abort.signal);
      await upstream.received(1);
      abort.abort(reason);
      await upstream.aborted(1);
      expect(await failed).to.equal(reason);
      expect(upstream.requests).to.have.length(1);
    });

    it('closes the upstream connection when aborted after some pieces, and throws the reason', async () => {
      const abort = new AbortController();
      const reason = new Error('client gone');
      upstream.script({ text: ['a', 'b', 'c'], hangAfter: 2 });
      let text = '';
      try {
        for await (const event of rig.provider(name).stream(ask(), { signal: abort.signal })) {
          if (event.type === 'text') text += event.text;
          if (text === 'ab') abort.abort(reason);
        }
        expect.fail('The stream was expected to throw.');
      } catch (error) {
        expect(error).to.equal(reason);
      }
      expect(text).to.equal('ab');
      await upstream.aborted(1);
    });

    it('throws the reason at once when aborted while it waits for the next attempt', async () => {
      const abort = new AbortController();
      upstream.script({ status: 429, headers: { 'retry-after': '3' } });
      let onRefused = (): void => {};
      const refused = new Promise<void>((resolve) => {
        onRefused = resolve;
      });
      const watched: Transport = {
        ...rig.transport,
        post: (post) => rig.transport.post(post).finally(onRefused),
      };
      const provider = createProviders({ endpoints: endpointsAt(upstream), retries: 2 }, watched).get(name);
      const failed = failure(provider, ask(), abort.signal);
      await refused;
      // By the next round of the event loop the SDK has read the refusal and sleeps.
      await nextRound();
      const begun = systemClock.monotonic();
      abort.abort('stopped');
      expect(await failed).to.equal('stopped');
      expect(systemClock.monotonic() - begun).to.be.below(2_000);
      expect(upstream.requests).to.have.length(1);
    });

    it('asks nobody where the signal was aborted before', async () => {
      expect(await failure(rig.provider(name), ask(), AbortSignal.abort('early'))).to.equal('early');
      expect(upstream.requests).to.have.length(0);
    });

    it('closes the upstream connection when its reader stops reading', async () => {
      const hold = createGate();
      upstream.script({ text: ['a', 'b'], hold });
      hold.release();
      for await (const event of rig.provider(name).stream(ask(), { signal: new AbortController().signal })) {
        if (event.type === 'text') break;
      }
      await upstream.aborted(1);
    });

    it('gives each piece as soon as it came', async () => {
      const hold = createGate();
      upstream.script({ text: ['a', 'b'], hold });
      const texts: string[] = [];
      hold.release();
      for await (const event of rig.provider(name).stream(ask(), { signal: new AbortController().signal })) {
        if (event.type !== 'text') continue;
        texts.push(event.text);
        hold.release();
      }
      expect(texts).to.deep.equal(['a', 'b']);
    });
  });
}

describe('an answer that is not of the format', () => {
  it('is upstream_invalid, and so is one that is not HTTP', async () => {
    const replies = [
      'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<hi>',
      'SMTP?\r\n\r\n',
    ];
    const server = createServer((socket) => {
      socket.once('data', () => socket.end(replies.shift() ?? ''));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const transport = createTransport({ connectTimeoutMs: 1_000, idleTimeoutMs: 1_000 });
    const upstream = await startUpstream();
    const endpoints = {
      ...endpointsAt(upstream),
      openai: { apiKey: KEY, baseUrl: `http://127.0.0.1:${port}` },
    };
    const provider = createProviders({ endpoints, retries: 0 }, transport).get('openai');
    try {
      expect((await fault(provider)).code).to.equal('upstream_invalid');
      expect((await fault(provider)).code).to.equal('upstream_invalid');
    } finally {
      await transport.close();
      await upstream.close();
      await new Promise((resolve) => server.close(resolve));
    }
  });
});

describe('the registry', () => {
  it('is ready for a provider with a key or one that needs none, and sends no key where there is none', async () => {
    const upstream = await startUpstream();
    const rig = rigFor(upstream);
    const providers = createProviders({ endpoints: endpointsAt(upstream, null), retries: 0 }, rig.transport);
    expect(providers.ready('openai')).to.equal(false);
    expect(providers.ready('anthropic')).to.equal(false);
    expect(providers.ready('ollama')).to.equal(true);
    expect(providers.ready('demo')).to.equal(true);
    expect(() => providers.get('openai')).to.throw('has no key');
    await collect(providers.get('ollama'), ask());
    expect(upstream.requests[0]?.headers).not.to.have.property('authorization');
    expect(providers.get('ollama')).to.equal(providers.get('ollama'));
    await rig.transport.close();
    await upstream.close();
  });
});
