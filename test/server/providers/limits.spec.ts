import { expect } from 'chai';
import { HIDDEN_BYTES_MAX } from '../../../server/providers/upstream.ts';
import { startUpstream, type Upstream } from '../../support/upstream.ts';
import {
  ALL_HIDDEN_BYTES,
  ask,
  callsOf,
  collect,
  fault,
  printed,
  type Rig,
  rigFor,
  textOf,
} from './support.ts';

describe('the limit on what an adapter keeps to itself', () => {
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

  for (const name of ['openai', 'anthropic'] as const) {
    it(`ends an answer of ${name} at too long arguments of its calls`, async () => {
      // What is too much is the call's name; the answer hangs, so that nothing else ends it.
      upstream.script({ toolCalls: [{ name: 'read', arguments: ALL_HIDDEN_BYTES }], hangAfter: 65 });
      const error = await fault(rig.provider(name));
      expect(error.code).to.equal('upstream_invalid');
      expect(printed(error.cause)).to.contain(`${HIDDEN_BYTES_MAX} bytes`);
      await upstream.aborted(1);
    });

    it(`takes long arguments of ${name} below that limit`, async () => {
      const [, ...pieces] = ALL_HIDDEN_BYTES;
      upstream.script({ toolCalls: [{ name: 'read', arguments: ['{"text":"', ...pieces, '"}'] }] });
      const [call] = callsOf(await collect(rig.provider(name), ask()));
      expect(call?.arguments.text === pieces.join('')).to.equal(true);
    });
  }

  it('neither keeps nor limits reasoning that is not to be sent back', async () => {
    upstream.script({ thinking: { text: [...ALL_HIDDEN_BYTES, 'x'], signature: '' }, text: 'Done.' });
    expect(textOf(await collect(rig.provider('openai'), ask()))).to.equal('Done.');
  });

  it('ends an answer at too much reasoning that is to be sent back', async () => {
    upstream.script({ thinking: { text: [...ALL_HIDDEN_BYTES, 'x'], signature: '' }, hangAfter: 65 });
    expect((await fault(rig.provider('deepseek'))).code).to.equal('upstream_invalid');
    await upstream.aborted(1);
  });

  it('ends an answer at too much thinking', async () => {
    const thinking = { text: [...ALL_HIDDEN_BYTES, 'x'], signature: '' };
    upstream.script({ thinking, text: 'x', hangAfter: 1 });
    expect((await fault(rig.provider('anthropic'))).code).to.equal('upstream_invalid');
    await upstream.aborted(1);
  });
});
