import type { TokenUsage } from '../../tenant-schema/store.ts';

/** Prices of one token each, in pico-dollars: a dollar per million tokens is a million of them. */
export interface Rates {
  input: bigint;
  cachedInput: bigint;
  cacheWrite: bigint;
  output: bigint;
  reasoning: bigint;
}

/** What a model costs: `base`, or where a request has more input tokens than `above`, all of it at the tier's rates. */
export interface RateTable {
  base: Rates;
  /** By `above`, ascending. */
  tiers: { above: number; rates: Rates }[];
}

/** A dollar per million tokens is a micro-dollar per token, so that a table in dollars per million is one in these. */
const PICO_PER_MICRO = 1_000_000n;

/** The kinds of tokens of a usage, each token counted once. */
type Kinds = Record<keyof Rates, number>;

/**
 * A price in dollars per million tokens as pico-dollars per token; exact for up to six decimals, rounded up beyond.
 * @param value not negative
 */
export function toRate(value: number): bigint {
  const nearest = Math.round(value * 1e6);
  return BigInt(nearest / 1e6 >= value ? nearest : nearest + 1);
}

export function ratesAt(table: RateTable, inputTokens: number): Rates {
  return table.tiers.findLast(({ above }) => inputTokens > above)?.rates ?? table.base;
}

/** The dearest of each kind. */
export function dearest(all: [Rates, ...Rates[]]): Rates {
  const max = (kind: keyof Rates): bigint =>
    all.reduce((most, rates) => (rates[kind] > most ? rates[kind] : most), 0n);
  return {
    input: max('input'),
    cachedInput: max('cachedInput'),
    cacheWrite: max('cacheWrite'),
    output: max('output'),
    reasoning: max('reasoning'),
  };
}

/** What a usage costs in micro-dollars, rounded up once. Parts that exceed their whole count as the whole. */
export function costOf(table: RateTable, usage: TokenUsage): number {
  const cachedInput = Math.min(usage.cachedInputTokens, usage.inputTokens);
  const cacheWrite = Math.min(usage.cacheWriteInputTokens, usage.inputTokens - cachedInput);
  const reasoning = Math.min(usage.reasoningTokens, usage.outputTokens);
  return microUsd(ratesAt(table, usage.inputTokens), {
    input: usage.inputTokens - cachedInput - cacheWrite,
    cachedInput,
    cacheWrite,
    output: usage.outputTokens - reasoning,
    reasoning,
  });
}

/** What any usage within the bounds costs at most, in micro-dollars: each token as the dearest that it can be. */
export function costMaxOf(table: RateTable, inputTokensMax: number, outputTokensMax: number): number {
  const reachable = table.tiers.filter(({ above }) => inputTokensMax > above).map(({ rates }) => rates);
  const rates = dearest([table.base, ...reachable]);
  const most = (...values: bigint[]): bigint => values.reduce((a, b) => (b > a ? b : a), 0n);
  return microUsd(
    {
      ...rates,
      input: most(rates.input, rates.cachedInput, rates.cacheWrite),
      output: most(rates.output, rates.reasoning),
    },
    { input: inputTokensMax, cachedInput: 0, cacheWrite: 0, output: outputTokensMax, reasoning: 0 },
  );
}

function microUsd(rates: Rates, tokens: Kinds): number {
  // BigInt: a million tokens at a dear price is beyond what a number counts exactly in pico-dollars.
  let pico = 0n;
  for (const kind of KINDS) pico += BigInt(tokens[kind]) * rates[kind];
  const micro = (pico + PICO_PER_MICRO - 1n) / PICO_PER_MICRO;
  return micro > MICRO_USD_MAX ? Number.MAX_SAFE_INTEGER : Number(micro);
}

const KINDS: readonly (keyof Rates)[] = ['input', 'cachedInput', 'cacheWrite', 'output', 'reasoning'];
const MICRO_USD_MAX = BigInt(Number.MAX_SAFE_INTEGER);
