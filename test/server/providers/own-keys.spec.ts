import { expect } from 'chai';
import { createProviders, type Providers } from '../../../server/providers/registry.ts';
import { type Answer, startUpstream, type Upstream } from '../../support/upstream.ts';
import { ask, collect, endpointsAt, fault, KEY, printed, type Rig, rigFor } from './support.ts';

const OWN = 'sk-own-canary-9876543210';

for (const name of ['openai', 'anthropic'] as const) {
  describe(`a tenant's own key over the ${name} wire format`, () => {
    let upstream: Upstream;
    let rig: Rig;
    let providers: Providers;
    beforeEach(async () => {
      upstream = await startUpstream();
      rig = rigFor(upstream);
      providers = createProviders({ endpoints: endpointsAt(upstream), retries: 0 }, rig.transport);
    });
    afterEach(async () => {
      await rig.transport.close();
      await upstream.close();
    });

    const sent = () => {
      const { headers } = upstream.requests.at(-1) ?? { headers: {} };
      return JSON.stringify(headers);
    };

    it("is sent in the place of the server's, and is not kept for whoever comes next", async () => {
      await collect(providers.get(name, OWN), ask());
      expect(sent()).to.include(OWN).and.not.include(KEY);
      await collect(providers.get(name, null), ask());
      expect(sent()).to.include(KEY).and.not.include(OWN);
      expect(providers.get(name, null)).to.equal(providers.get(name, null));
      expect(providers.get(name, OWN)).not.to.equal(providers.get(name, OWN));
    });

    it('makes a provider ready that has no other', () => {
      const without = createProviders({ endpoints: endpointsAt(upstream, null), retries: 0 }, rig.transport);
      expect([without.ready(name, null), without.ready(name, OWN)]).to.deep.equal([false, true]);
      expect(without.notReady(name).message).to.include(`${name.toUpperCase()}_API_KEY`);
      const strict = createProviders(
        { endpoints: endpointsAt(upstream), retries: 0, allowServerKeys: false },
        rig.transport,
      );
      expect([strict.ready(name, null), strict.ready(name, OWN)]).to.deep.equal([false, true]);
      expect(strict.notReady(name).message).not.to.include('_API_KEY');
      expect(() => strict.get(name, null)).to.throw('has no key');
    });

    const words: [string, Answer, RegExp][] = [
      [
        'a refusal',
        { status: 401, errorMessage: 'No such key.' },
        /answered with status 401: No such key\.$/,
      ],
      [
        'words with the key in them',
        { status: 400, errorMessage: `<${OWN}> is bad` },
        /<\[redacted\]> is bad$/,
      ],
      ['words over several lines', { status: 400, errorMessage: 'a\n\u0000 \tb' }, /status 400: a b$/],
      ['half a character', { status: 400, errorMessage: 'a\ud83d b' }, /status 400: a\ufffd b$/],
      ['very long words', { status: 500, errorMessage: '😀'.repeat(5000) }, /: (?:😀){500}…$/u],
      ['no words', { status: 400, errorMessage: ' ' }, /answered with status 400\.$/],
      [
        'an error within the stream',
        { text: 'x', errorEvent: { after: 1, type: 'overloaded_error', message: 'too busy' } },
        /reported an error within its answer: too busy$/,
      ],
      ['no answer at all', { closeAfter: 'request' }, /could not be reached\.$/],
    ];
    for (const [what, answer, expected] of words) {
      it(`shows the tenant the provider's own words: ${what}`, async () => {
        upstream.script(answer, answer);
        const shown = await fault(providers.get(name, OWN));
        expect(shown.message).to.match(expected);
        expect(printed(shown)).not.to.include(OWN);
        expect((await fault(providers.get(name, null))).message).not.to.match(/: |busy|No such/);
      });
    }
  });
}
