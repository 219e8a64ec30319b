import { expect } from 'chai';
import { createPricing, type Pricing } from '../../../server/pricing/pricing.ts';
import type { ProviderName } from '../../../server/providers/catalogue.ts';
import {
  type AnthropicUsage,
  addAnthropic,
  fromAnthropic,
  fromOpenAi,
  type OpenAiUsage,
} from '../../../server/providers/usage.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { startUpstream, type Upstream } from '../../support/upstream.ts';
import { ask, collect, lastUsage, type Rig, rigFor } from '../providers/support.ts';

/** Usage as the providers' references and recorded answers show it, with its price reckoned by hand. */
const OPENAI: {
  name: string;
  provider: ProviderName;
  model: string;
  usage: OpenAiUsage;
  microUsd: number;
}[] = [
  {
    name: 'a plain answer',
    provider: 'openai',
    model: 'gpt-4o-mini',
    usage: { prompt_tokens: 19, completion_tokens: 10, total_tokens: 29 },
    // 19 × 0.15 + 10 × 0.6 = 8.85
    microUsd: 9,
  },
  {
    name: 'cached input and reasoning',
    provider: 'openai',
    model: 'gpt-5',
    usage: {
      prompt_tokens: 2006,
      completion_tokens: 300,
      total_tokens: 2306,
      prompt_tokens_details: { cached_tokens: 1920 },
      completion_tokens_details: { reasoning_tokens: 192 },
    },
    // 86 × 1.25 + 1920 × 0.125 + 300 × 10 = 107.5 + 240 + 3000
    microUsd: 3348,
  },
  {
    name: 'input that was written to the cache',
    provider: 'openai',
    model: 'gpt-6-sol',
    usage: {
      prompt_tokens: 5000,
      completion_tokens: 100,
      total_tokens: 5100,
      prompt_tokens_details: { cached_tokens: 1000, cache_write_tokens: 3000 },
    },
    // 1000 × 2 + 1000 × 0.2 + 3000 × 2.5 + 100 × 10
    microUsd: 10_700,
  },
  {
    name: "DeepSeek's own names",
    provider: 'deepseek',
    model: 'deepseek-v3.1-terminus',
    usage: {
      prompt_tokens: 1000,
      completion_tokens: 200,
      total_tokens: 1200,
      prompt_cache_hit_tokens: 640,
      completion_tokens_details: { reasoning_tokens: 150 },
    },
    // 360 × 0.27 + 640 × 0.13 + 200 × 0.95 = 97.2 + 83.2 + 190
    microUsd: 371,
  },
  {
    name: "Moonshot's own name",
    provider: 'moonshotai',
    model: 'kimi-k2.5',
    usage: { prompt_tokens: 1000, completion_tokens: 100, total_tokens: 1100, cached_tokens: 500 },
    // 500 × 0.6 + 500 × 0.1 + 100 × 3
    microUsd: 650,
  },
  {
    name: 'reasoning that xAI does not count as completion',
    provider: 'xai',
    model: 'grok-4',
    usage: {
      prompt_tokens: 687,
      completion_tokens: 10,
      total_tokens: 1097,
      prompt_tokens_details: { cached_tokens: 679 },
      completion_tokens_details: { reasoning_tokens: 400 },
    },
    // 8 × 3 + 679 × 0.75 + 410 × 15 = 24 + 509.25 + 6150
    microUsd: 6684,
  },
  {
    name: 'thoughts that Google tells in the total alone',
    provider: 'google',
    model: 'gemini-2.5-pro',
    usage: { prompt_tokens: 10, completion_tokens: 20, total_tokens: 530 },
    // 10 × 1.25 + 520 × 10 = 12.5 + 5200
    microUsd: 5213,
  },
  {
    name: 'an answer by way of OpenRouter, which tells more than is needed',
    provider: 'openrouter',
    model: 'anthropic/claude-sonnet-4.5',
    usage: {
      prompt_tokens: 2000,
      completion_tokens: 50,
      total_tokens: 2050,
      cost: 0.0042,
      prompt_tokens_details: { cached_tokens: 1500, cache_write_tokens: 400 },
    } as OpenAiUsage,
    // 100 × 3 + 1500 × 0.3 + 400 × 3.75 + 50 × 15
    microUsd: 3000,
  },
];

const ANTHROPIC: {
  name: string;
  model: string;
  events: AnthropicUsage[];
  whole: AnthropicUsage;
  microUsd: number;
}[] = [
  {
    name: 'a plain answer',
    model: 'claude-sonnet-4-6',
    events: [{ input_tokens: 25, output_tokens: 1 }, { output_tokens: 15 }],
    whole: { input_tokens: 25, output_tokens: 15 },
    // 25 × 3 + 15 × 15
    microUsd: 300,
  },
  {
    name: 'input read from the cache and written to it',
    model: 'claude-haiku-4-5',
    events: [
      {
        input_tokens: 21,
        cache_creation_input_tokens: 188,
        cache_read_input_tokens: 10_086,
        output_tokens: 8,
      },
      {
        input_tokens: null,
        cache_creation_input_tokens: null,
        cache_read_input_tokens: null,
        output_tokens: 393,
      },
    ],
    whole: {
      input_tokens: 21,
      cache_creation_input_tokens: 188,
      cache_read_input_tokens: 10_086,
      output_tokens: 393,
    },
    // 21 × 1 + 188 × 1.25 + 10086 × 0.1 + 393 × 5 = 21 + 235 + 1008.6 + 1965
    microUsd: 3230,
  },
  {
    name: 'figures that are told again, larger, at the end',
    model: 'claude-opus-4-6',
    events: [
      { input_tokens: 472, cache_creation_input_tokens: 0, cache_read_input_tokens: 0, output_tokens: 2 },
      {
        input_tokens: 10_682,
        cache_creation_input_tokens: 0,
        cache_read_input_tokens: 0,
        output_tokens: 510,
        output_tokens_details: { thinking_tokens: 300 },
      },
    ],
    whole: { input_tokens: 10_682, output_tokens: 510, output_tokens_details: { thinking_tokens: 300 } },
    // 10682 × 5 + 510 × 25
    microUsd: 66_160,
  },
];

describe('the price of usage that providers report', () => {
  let pricing: Pricing;
  let upstream: Upstream;
  let rig: Rig;
  before(async () => {
    const log = { info: () => {}, error: () => {} };
    const clock = { ...systemClock, now: () => Date.parse('2026-10-01') };
    pricing = await createPricing({ file: null, clock, log });
    upstream = await startUpstream();
    rig = rigFor(upstream);
  });
  after(async () => {
    await rig.transport.close();
    await upstream.close();
  });

  for (const { name, provider, model, usage, microUsd } of OPENAI) {
    it(`is exact to the micro-dollar in Chat Completions: ${name}`, () => {
      expect(pricing.priceOf(provider, model)?.cost(fromOpenAi(usage))).to.equal(microUsd);
    });
  }

  for (const { name, model, events, whole, microUsd } of ANTHROPIC) {
    it(`is exact to the micro-dollar in Messages, streamed or whole: ${name}`, () => {
      const price = pricing.priceOf('anthropic', model);
      expect(price?.cost(fromAnthropic(events.reduce(addAnthropic, {})))).to.equal(microUsd);
      expect(price?.cost(fromAnthropic(whole))).to.equal(microUsd);
    });
  }

  it('counts what a stream told before it broke off', () => {
    const begun = ANTHROPIC[1]?.events[0] ?? {};
    expect(fromAnthropic(addAnthropic({}, begun))).to.deep.equal({
      inputTokens: 10_295,
      outputTokens: 8,
      cachedInputTokens: 10_086,
      cacheWriteInputTokens: 188,
      reasoningTokens: 0,
    });
  });

  it('is the same for a stream and for an answer in one piece', async () => {
    const usage = { input: 5000, output: 700, cached: 3000, cacheCreation: 1500, reasoning: 100 };
    const wholeOf = async (url: string) => {
      upstream.script({ text: 'Hi', usage });
      const body = JSON.stringify({ model: 'm', messages: [], stream: false });
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      return ((await answer.json()) as { usage: object }).usage;
    };
    const streamedOf = async (name: 'openai' | 'anthropic') => {
      upstream.script({ text: 'Hi', usage });
      return lastUsage(await collect(rig.provider(name), ask()));
    };
    expect(await streamedOf('openai')).to.deep.equal(
      fromOpenAi(await wholeOf(`${upstream.openaiUrl}/chat/completions`)),
    );
    expect(await streamedOf('anthropic')).to.deep.equal(
      fromAnthropic(await wholeOf(`${upstream.anthropicUrl}/v1/messages`)),
    );
  });

  it('takes no figure that cannot be one', () => {
    const odd = { prompt_tokens: -5, completion_tokens: 'many', total_tokens: Number.POSITIVE_INFINITY };
    const usage = fromOpenAi(odd as unknown as OpenAiUsage);
    expect(usage).to.deep.include({ inputTokens: 0, cachedInputTokens: 0, reasoningTokens: 0 });
    expect(fromOpenAi({ prompt_tokens: 1e300 }).inputTokens).to.be.at.most(1e9);
    expect(fromAnthropic({ output_tokens: Number.NaN, input_tokens: null }).outputTokens).to.equal(0);
  });
});
