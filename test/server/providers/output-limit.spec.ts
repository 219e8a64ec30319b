import { expect } from 'chai';
import type { ProviderName } from '../../../server/providers/catalogue.ts';
import { DEFAULT_OUTPUT_TOKENS_MAX } from '../../../server/providers/output-limit.ts';
import type { JsonObject } from '../../../tenant-schema/store.ts';
import { startUpstream, type Upstream } from '../../support/upstream.ts';
import { ask, collect, type Rig, rigFor } from './support.ts';

describe("the server's limit on the length of an answer", () => {
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

  /** The limits in the body that goes out. */
  const sent = async (
    name: ProviderName,
    parameters: JsonObject,
    outputTokensMax: number | null,
  ): Promise<JsonObject> => {
    await collect(rig.provider(name), ask({ parameters, outputTokensMax }));
    const body = upstream.requests.at(-1)?.body ?? {};
    return Object.fromEntries(Object.entries(body).filter(([key]) => key.startsWith('max_')));
  };

  it("goes out under the provider's name for it", async () => {
    for (const name of ['openai', 'groq', 'xai'] as const) {
      expect(await sent(name, {}, 1000), name).to.deep.equal({ max_completion_tokens: 1000 });
    }
    for (const name of ['anthropic', 'google', 'deepseek', 'mistral', 'moonshotai', 'openrouter'] as const) {
      expect(await sent(name, {}, 1000), name).to.deep.equal({ max_tokens: 1000 });
    }
  });

  it('gives way to a length that the parameters name', async () => {
    expect(await sent('openai', { max_tokens: 5000 }, 1000)).to.deep.equal({ max_tokens: 5000 });
    expect(await sent('anthropic', { max_tokens: 5000 }, 1000)).to.deep.equal({ max_tokens: 5000 });
  });

  it('takes the place of what is no length, and stands beside a name that the provider does not know', async () => {
    expect(await sent('openai', { max_tokens: '5000', max_completion_tokens: null }, 1000)).to.deep.equal({
      max_completion_tokens: 1000,
    });
    expect(await sent('anthropic', { max_tokens: '5000' }, 1000)).to.deep.equal({ max_tokens: 1000 });
    expect(await sent('deepseek', { max_completion_tokens: 5000 }, 1000)).to.deep.equal({
      max_completion_tokens: 5000,
      max_tokens: 1000,
    });
  });

  it('is only sent where there is one, but Anthropic always gets a length', async () => {
    expect(await sent('openai', {}, null)).to.deep.equal({});
    expect(await sent('openai', { max_tokens: '5000' }, null)).to.deep.equal({ max_tokens: '5000' });
    expect(await sent('anthropic', {}, null)).to.deep.equal({ max_tokens: DEFAULT_OUTPUT_TOKENS_MAX });
  });
});
