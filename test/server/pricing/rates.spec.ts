import { expect } from 'chai';
import fc from 'fast-check';
import { costMaxOf, costOf, type Rates, type RateTable, toRate } from '../../../server/pricing/rates.ts';
import type { TokenUsage } from '../../../tenant-schema/store.ts';

const tokens = fc.integer({ min: 0, max: 2_000_000 });
const rate = fc.bigInt({ min: 0n, max: 10_000_000_000n });
const anyRates: fc.Arbitrary<Rates> = fc.record({
  input: rate,
  cachedInput: rate,
  cacheWrite: rate,
  output: rate,
  reasoning: rate,
});
const anyTable: fc.Arbitrary<RateTable> = fc
  .record({
    base: anyRates,
    starts: fc.uniqueArray(tokens, { maxLength: 3 }),
    tiers: fc.array(anyRates, { minLength: 3, maxLength: 3 }),
  })
  .map(({ base, starts, tiers }) => ({
    base,
    tiers: starts
      .toSorted((a, b) => a - b)
      .flatMap((above, at) => (tiers[at] ? [{ above, rates: tiers[at] }] : [])),
  }));
/** As careless as providers are: parts may exceed their whole. */
const anyUsage: fc.Arbitrary<TokenUsage> = fc.record({
  inputTokens: tokens,
  outputTokens: tokens,
  cachedInputTokens: tokens,
  cacheWriteInputTokens: tokens,
  reasoningTokens: tokens,
});

const usage = (more: Partial<TokenUsage>): TokenUsage => ({
  inputTokens: 0,
  outputTokens: 0,
  cachedInputTokens: 0,
  cacheWriteInputTokens: 0,
  reasoningTokens: 0,
  ...more,
});

const RATES: Rates = {
  input: 2_000_000n,
  cachedInput: 200_000n,
  cacheWrite: 2_500_000n,
  output: 10_000_000n,
  reasoning: 12_000_000n,
};
const FLAT: RateTable = { base: RATES, tiers: [] };

describe('the cost of a usage', () => {
  it('prices each kind of tokens apart and none of them twice', () => {
    const mixed = usage({
      inputTokens: 1000,
      cachedInputTokens: 600,
      cacheWriteInputTokens: 300,
      outputTokens: 50,
      reasoningTokens: 20,
    });
    // 100 × 2 + 600 × 0.2 + 300 × 2.5 + 30 × 10 + 20 × 12 micro-dollars
    expect(costOf(FLAT, mixed)).to.equal(200 + 120 + 750 + 300 + 240);
  });

  it('is rounded up to whole micro-dollars, once', () => {
    expect(costOf(FLAT, usage({ inputTokens: 1, cachedInputTokens: 1 }))).to.equal(1);
    // Two tokens of 0.2 and one of 12 micro-dollars: 12.4, and 14 if each kind or token were rounded by itself.
    const mixed = usage({ inputTokens: 2, cachedInputTokens: 2, outputTokens: 1, reasoningTokens: 1 });
    expect(costOf(FLAT, mixed)).to.equal(13);
    expect(costOf(FLAT, usage({ inputTokens: 6, cachedInputTokens: 6 }))).to.equal(2);
    expect(costOf(FLAT, usage({}))).to.equal(0);
  });

  it('is exact where floating point is not', () => {
    const table: RateTable = { base: { ...RATES, input: toRate(0.1), output: toRate(0.2) }, tiers: [] };
    // 0.1 × 3 is 0.30000000000000004 in floating point: three million tokens would cost a micro-dollar too much.
    expect(costOf(table, usage({ inputTokens: 3_000_000 }))).to.equal(300_000);
    expect(costOf(table, usage({ inputTokens: 10, outputTokens: 5 }))).to.equal(2);
  });

  it('takes a tier for the whole request from the first token beyond its start', () => {
    const table: RateTable = {
      base: RATES,
      tiers: [{ above: 200_000, rates: { ...RATES, input: 4_000_000n, output: 15_000_000n } }],
    };
    expect(costOf(table, usage({ inputTokens: 200_000, outputTokens: 10 }))).to.equal(400_100);
    expect(costOf(table, usage({ inputTokens: 200_001, outputTokens: 10 }))).to.equal(800_154);
    expect(costMaxOf(table, 200_000, 10)).to.equal(200_000 * 2.5 + 120);
  });

  it('never exceeds the worst case of its bounds', () => {
    fc.assert(
      fc.property(anyTable, anyUsage, tokens, tokens, (table, used, moreInput, moreOutput) => {
        const worst = costMaxOf(table, used.inputTokens + moreInput, used.outputTokens + moreOutput);
        expect(costOf(table, used)).to.be.at.most(worst);
        expect(Number.isSafeInteger(worst)).to.equal(true);
      }),
      { numRuns: 500 },
    );
  });

  it('is a whole number that grows with input and with output', () => {
    fc.assert(
      fc.property(anyRates, anyUsage, tokens, tokens, (base, used, moreInput, moreOutput) => {
        const table: RateTable = { base: { ...base, cachedInput: 0n, cacheWrite: base.input }, tiers: [] };
        const cost = costOf(table, used);
        const partsOfInput = used.cachedInputTokens + used.cacheWriteInputTokens <= used.inputTokens;
        expect(Number.isSafeInteger(cost) && cost >= 0).to.equal(true);
        expect(costOf(table, { ...used, outputTokens: used.outputTokens + moreOutput })).to.be.at.least(cost);
        if (partsOfInput) {
          expect(costOf(table, { ...used, inputTokens: used.inputTokens + moreInput })).to.be.at.least(cost);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('stays a number that can be stored whatever a provider reports', () => {
    const absurd = usage({ inputTokens: 1e300, outputTokens: 1e300 });
    expect(costOf({ base: { ...RATES, input: 10_000_000_000n }, tiers: [] }, absurd)).to.equal(
      Number.MAX_SAFE_INTEGER,
    );
  });

  it('has its rates exact to six decimals, and rounded up beyond', () => {
    expect(toRate(0.000001)).to.equal(1n);
    expect(toRate(0.0375)).to.equal(37_500n);
    expect(toRate(3.125)).to.equal(3_125_000n);
    expect(toRate(0.08333333333333334)).to.equal(83_334n);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (pico) => {
        expect(toRate(pico / 1e6)).to.equal(BigInt(pico));
      }),
    );
  });
});
