import { expect } from 'chai';
import {
  inputSizeOf,
  inputTokensEstimate,
  inputTokensMax,
  outputTokensMaxOf,
} from '../../../server/pricing/bounds.ts';
import { DEFAULT_OUTPUT_TOKENS_MAX } from '../../../server/providers/output-limit.ts';
import type { Config, ToolConfig } from '../../../tenant-schema/store.ts';

const CONFIG: Config = {
  id: 'c',
  version: 1,
  createdAt: 0,
  updatedAt: 0,
  name: 'A',
  agentType: 'client-side',
  systemPrompt: '',
  modelConfig: { provider: 'openai', model: 'm' },
  toolsConfig: [],
  metadata: {},
};
const SIZE = { historyBytes: 1000, historyMessages: 4, inputBytes: 200, inputMessages: 1 };

describe('the bound of the input', () => {
  it('counts a token for every byte of the system prompt, the history and the input, and something for each message', () => {
    const size = inputSizeOf(CONFIG, 'häh?', SIZE);
    expect(size).to.include({ textBytes: 1205, messages: 6, tools: 0 });
    const longer = inputTokensMax({ ...size, textBytes: size.textBytes + 10 });
    expect(longer - inputTokensMax(size)).to.equal(10);
    expect(inputTokensMax({ ...size, messages: 7 }) - inputTokensMax(size)).to.be.at.least(64 + 4);
  });

  it('covers what a provider adds by itself to a request that says next to nothing', () => {
    const asks = (changes: object) =>
      inputTokensMax(
        inputSizeOf({ ...CONFIG, ...changes }, '', {
          ...SIZE,
          historyBytes: 0,
          historyMessages: 0,
          inputBytes: 2,
        }),
      );
    expect(asks({})).to.be.at.least(300);
    // Grok puts about 700 tokens before each request, Claude up to about 700 where there are tools.
    for (const provider of ['xai', 'openrouter']) {
      expect(asks({ modelConfig: { provider, model: 'x-ai/grok' } }), provider).to.be.at.least(1000);
    }
    expect(asks({ toolsConfig: ['look'] })).to.be.at.least(2000);
  });

  it('counts the definitions of tools and a schema for the answer', () => {
    const plain = inputSizeOf(CONFIG, '', SIZE);
    const schema = { type: 'object', properties: { city: { type: 'string', description: 'x'.repeat(500) } } };
    const tools: ToolConfig[] = ['clock', { name: 'weather', description: 'Tells it', parameters: schema }];
    const withTools = inputSizeOf({ ...CONFIG, toolsConfig: tools }, '', SIZE);
    expect(withTools.tools).to.equal(2);
    expect(inputTokensMax(withTools) - inputTokensMax(plain)).to.be.at.least(2 * 500);
    expect(inputTokensEstimate(withTools) - inputTokensEstimate(plain)).to.be.at.least(500 / 4);
    const format = { type: 'json_schema', json_schema: { name: 'a', schema } };
    const modelConfig = { ...CONFIG.modelConfig, response_format: format };
    const withSchema = inputSizeOf({ ...CONFIG, modelConfig }, '', SIZE);
    expect(inputTokensMax(withSchema) - inputTokensMax(plain)).to.be.at.least(2 * 500);
  });

  it('is far above the estimate, which is a quarter of the bytes', () => {
    const size = { textBytes: 4000, schemaBytes: 400, messages: 3, tools: 1, preambleTokens: 256 };
    expect(inputTokensEstimate(size)).to.equal(1100);
    expect(inputTokensMax(size)).to.be.above(4800);
  });
});

describe('the bound of the output', () => {
  const bound = (more: object, outputTokensMax: number | null = null) =>
    outputTokensMaxOf({ provider: 'openai', model: 'm', ...more }, { outputTokensMax });
  const byDefault = { tokens: DEFAULT_OUTPUT_TOKENS_MAX, isOwn: false };

  it('is what the config names, by a name that the provider obeys', () => {
    expect(bound({ max_completion_tokens: 70 })).to.deep.equal({ tokens: 70, isOwn: true });
    expect(bound({ max_tokens: 80 })).to.deep.equal({ tokens: 80, isOwn: true });
    expect(bound({ provider: 'anthropic', max_tokens: 90 })).to.deep.equal({ tokens: 90, isOwn: true });
  });

  it('is the longer of two', () => {
    expect(bound({ max_tokens: 10, max_completion_tokens: 5000 })).to.deep.equal({
      tokens: 5000,
      isOwn: true,
    });
  });

  it("is the server's default where the config names none that the provider obeys", () => {
    expect(bound({})).to.deep.equal(byDefault);
    expect(bound({ max_tokens: null })).to.deep.equal(byDefault);
    for (const provider of ['anthropic', 'mistral', 'deepseek', 'openrouter', 'nobody']) {
      expect(bound({ provider, max_completion_tokens: 70 }), provider).to.deep.equal(byDefault);
    }
  });

  for (const value of ['100000', -1, 0, 1.5, 1e300, true, [5], { valueOf: 5 }]) {
    it(`is the server's default where the config names what is no length: ${JSON.stringify(value)}`, () => {
      expect(bound({ max_tokens: value })).to.deep.equal(byDefault);
      expect(bound({ max_tokens: value, max_completion_tokens: 70 })).to.deep.equal(byDefault);
    });
  }

  it('grows by the reasoning that the config grants, which counts as output', () => {
    const thinking = { type: 'enabled', budget_tokens: 10_000 };
    expect(bound({ provider: 'anthropic', thinking }).tokens).to.equal(DEFAULT_OUTPUT_TOKENS_MAX + 10_000);
    expect(bound({ provider: 'anthropic', thinking, max_tokens: 12_000 }).tokens).to.equal(12_000);
    expect(bound({ provider: 'openrouter', reasoning: { max_tokens: 500 } }).tokens).to.equal(
      DEFAULT_OUTPUT_TOKENS_MAX + 500,
    );
  });

  it('is never more than the model can write', () => {
    expect(bound({}, 1000)).to.deep.equal({ tokens: 1000, isOwn: false });
    expect(bound({ max_tokens: 5000 }, 1000)).to.deep.equal({ tokens: 1000, isOwn: true });
    expect(outputTokensMaxOf({ provider: 'openai', model: 'm', max_tokens: 5 }, null).tokens).to.equal(5);
  });
});
