import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { findProvider } from '@pydantic/genai-prices';
import { expect } from 'chai';
import { loadPriceList, PRICE_LIST, type PriceList, pricesOf } from '../../../server/pricing/price-list.ts';
import { createPricing, type Pricing } from '../../../server/pricing/pricing.ts';
import { costMaxOf, costOf } from '../../../server/pricing/rates.ts';
import { PROVIDER_NAMES, type ProviderName } from '../../../server/providers/catalogue.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import type { TokenUsage } from '../../../tenant-schema/store.ts';

const log = { info: () => {}, error: () => {} };
const at = (date: string) => Date.parse(date);
const NOW = at('2026-10-01');

/** A hundred thousand tokens of one kind: below every tier. */
const tokensOf = (kind: 'input' | 'cached' | 'write' | 'output'): TokenUsage => ({
  inputTokens: kind === 'output' ? 0 : 100_000,
  outputTokens: kind === 'output' ? 100_000 : 0,
  cachedInputTokens: kind === 'cached' ? 100_000 : 0,
  cacheWriteInputTokens: kind === 'write' ? 100_000 : 0,
  reasoningTokens: 0,
});

describe('the price list', () => {
  let list: PriceList;
  let pricing: Pricing;
  before(async () => {
    list = await loadPriceList();
    pricing = await createPricing({ file: null, clock: { ...systemClock, now: () => NOW }, log });
  });

  /** Dollars per million tokens of input, cached input, cache writes and output. */
  const prices = (provider: ProviderName, model: string, parameters = {}): number[] | null => {
    const price = pricing.priceOf(provider, model, parameters);
    return (
      price && (['input', 'cached', 'write', 'output'] as const).map((k) => price.cost(tokensOf(k)) / 1e5)
    );
  };

  it('names the version that is installed', () => {
    const root = resolve(import.meta.dirname, '../../..');
    const wanted = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')).dependencies;
    expect(PRICE_LIST).to.equal(`genai-prices@${wanted['@pydantic/genai-prices']}`);
    expect(pricing.priceOf('openai', 'gpt-5')?.version).to.equal(PRICE_LIST);
  });

  const KNOWN: [ProviderName, string, number[]][] = [
    ['openai', 'gpt-5-mini', [0.25, 0.025, 0.25, 2]],
    ['openai', 'gpt-5-mini-2025-08-07', [0.25, 0.025, 0.25, 2]],
    ['openai', 'gpt-4o-2024-08-06', [2.5, 1.25, 2.5, 10]],
    ['openai', 'ft:gpt-4o-mini-2024-07-18:acme::abc123', [0.3, 0.3, 0.3, 1.2]],
    ['anthropic', 'claude-sonnet-4-6', [3, 0.3, 3.75, 15]],
    ['anthropic', 'claude-haiku-4-5-20251001', [1, 0.1, 1.25, 5]],
    ['anthropic', 'claude-3-5-haiku-latest', [0.8, 0.08, 1, 4]],
    ['google', 'gemini-2.5-pro', [1.25, 0.125, 1.25, 10]],
    ['google', 'models/gemini-2.5-pro-preview-06-05', [1.25, 0.125, 1.25, 10]],
    ['mistral', 'mistral-large-latest', [2, 2, 2, 6]],
    ['moonshotai', 'kimi-k2.5', [0.6, 0.1, 0.6, 3]],
    ['groq', 'llama-3.3-70b-versatile', [0.59, 0.59, 0.59, 0.79]],
    ['xai', 'grok-4-latest', [3, 0.75, 3, 15]],
    ['openrouter', 'anthropic/claude-sonnet-4.5', [3, 0.3, 3.75, 15]],
  ];
  for (const [provider, model, expected] of KNOWN) {
    it(`knows ${model} of ${provider}`, () => {
      expect(prices(provider, model)).to.deep.equal(expected);
    });
  }

  const UNKNOWN: [ProviderName, string][] = [
    ['openai', 'gpt-7'],
    ['openai', 'gpt-5-mini-turbo'],
    // Another model than the one that its name begins like.
    ['anthropic', 'claude-sonnet-5-5'],
    ['anthropic', 'claude-opus-4-11'],
    ['anthropic', 'my-claude-sonnet-4-6'],
    ['google', 'tuned/gemini-2.5-pro'],
    // Of another provider.
    ['groq', 'gpt-5'],
    ['openrouter', 'gpt-5.1'],
    // A search of the web is paid beside the tokens.
    ['openai', 'gpt-4o-search-preview'],
    ['openrouter', 'openai/gpt-4o:online'],
    ['openrouter', 'perplexity/sonar'],
    // Listed without prices of tokens.
    ['openai', 'text-embedding-3-small'],
    ['openai', 'omni-moderation-latest'],
    ['google', 'gemma-4-31b-it'],
    ['openrouter', 'openai/gpt-oss-20b:free'],
    ['openai', ''],
    ['openai', '__proto__'],
    ['openai', 'constructor'],
  ];
  for (const [provider, model] of UNKNOWN) {
    it(`has no price for "${model}" of ${provider}, rather than none to pay`, () => {
      expect(pricing.priceOf(provider, model)).to.equal(null);
    });
  }

  it('has models of every provider that is paid, and the others cost nothing', () => {
    for (const provider of PROVIDER_NAMES) {
      if (provider === 'demo' || provider === 'ollama') {
        expect(prices(provider, 'any model')).to.deep.equal([0, 0, 0, 0]);
        expect(pricing.priceOf(provider, 'any model')?.costMax(1e6, 1e6)).to.equal(0);
      } else {
        const listed = findProvider({ providerId: provider === 'xai' ? 'x-ai' : provider })?.models ?? [];
        expect(listed.filter(({ id }) => list.find(provider, id, NOW)).length, provider).to.be.at.least(3);
      }
    }
  });

  it('has a bound for every listed model, also beyond the start of a dearer tier', () => {
    for (const provider of PROVIDER_NAMES) {
      for (const { id } of findProvider({ providerId: provider === 'xai' ? 'x-ai' : provider })?.models ??
        []) {
        const table = list.find(provider, id, NOW)?.table;
        if (!table) continue;
        let last = 0;
        for (const inputTokens of [1, 127_999, 128_001, 199_999, 200_001, 272_001, 1_000_000]) {
          const used = { ...tokensOf('output'), inputTokens };
          expect(costOf(table, used), id).to.be.at.least(last);
          expect(costOf(table, used), id).to.be.at.most(costMaxOf(table, inputTokens, used.outputTokens));
          last = costOf(table, used);
        }
      }
    }
  });

  it('doubles what is beyond the start of a long context', () => {
    const price = pricing.priceOf('google', 'gemini-2.5-pro');
    const long = (inputTokens: number) => price?.cost({ ...tokensOf('input'), inputTokens });
    expect(long(200_000)).to.equal(250_000);
    expect(long(200_001)).to.equal(500_003);
  });

  it('follows a price that changes on a day', () => {
    const cost = (day: string) => {
      const table = list.find('openai', 'gpt-5.6-luna', at(day))?.table;
      return table && costOf(table, tokensOf('output'));
    };
    expect(cost('2026-07-29')).to.equal(600_000);
    expect(cost('2026-07-30')).to.equal(120_000);
  });

  it('takes the dearest hour of the day where the hour counts', () => {
    const listed = findProvider({ providerId: 'deepseek' })?.models.find(({ id }) => id === 'deepseek-chat');
    const outputs = (Array.isArray(listed?.prices) ? listed.prices : []).map((p) => p.prices.output_mtok);
    expect(new Set(outputs).size).to.equal(2);
    expect(prices('deepseek', 'deepseek-chat')?.[3]).to.equal(Math.max(...outputs.map(Number)));
  });

  it('takes the dearest of each kind and of each tier, wherever it is listed', () => {
    const flat = { input_mtok: 1, output_mtok: 8 };
    const tiered = { input_mtok: { base: 2, tiers: [{ start: 1000, price: 4 }] }, output_mtok: 4 };
    const hours = { type: 'time_of_date', start_time: '00:30:00Z', end_time: '16:30:00Z' } as const;
    const old = { input_mtok: 99, output_mtok: 99 };
    const since = { type: 'start_date', start_date: '2026-01-01' } as const;
    for (const [one, other] of [
      [flat, tiered],
      [tiered, flat],
    ] as const) {
      const prices = [
        { prices: old },
        { constraint: since, prices: one },
        { constraint: hours, prices: other },
      ];
      const table = pricesOf({ prices }, 'openai', 'x', NOW)?.table;
      const cost = (inputTokens: number) => table && costOf(table, { ...tokensOf('output'), inputTokens });
      expect(cost(1000)).to.equal(1000 * 2 + 100_000 * 8);
      expect(cost(1001)).to.equal(1001 * 4 + 100_000 * 8);
    }
  });

  it('prices what is kept for an hour where the request asks for that', () => {
    const asked = { cache_control: { type: 'ephemeral', ttl: '1h' } };
    expect(prices('anthropic', 'claude-sonnet-4-6', asked)).to.deep.equal([3, 0.3, 6, 15]);
    expect(prices('anthropic', 'claude-v1')).to.deep.equal([8, 8, 10, 24]);
    expect(prices('anthropic', 'claude-v1', asked)).to.deep.equal([8, 8, 16, 24]);
    const soon = { cache_control: { type: 'ephemeral', ttl: '5m' } };
    expect(prices('anthropic', 'claude-sonnet-4-6', soon)).to.deep.equal([3, 0.3, 3.75, 15]);
  });

  it('looks a hostile name up in no time', () => {
    const startedAt = systemClock.monotonic();
    for (const name of ['claude-sonnet-4-5', 'gemini-2.5-pro', 'deepseek-chat', '']) {
      for (const provider of PROVIDER_NAMES) pricing.priceOf(provider, `${name}${'-2025'.repeat(20_000)}x`);
    }
    expect(systemClock.monotonic() - startedAt).to.be.below(1000);
  });
});
