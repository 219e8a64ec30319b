import type {
  ConditionalPrice,
  ModelPrice as ListedPrice,
  MatchLogic,
  ModelInfo,
} from '@pydantic/genai-prices';
import type { ProviderName } from '../providers/catalogue.ts';
import { dearest, type Rates, type RateTable, toRate } from './rates.ts';

/** The package and the version that the prices are from; a test compares it with `package.json`. */
export const PRICE_LIST = 'genai-prices@0.1.8';

/** How the list names our providers. Those that cost nothing are not in it. */
const LISTED_AS: Record<Exclude<ProviderName, 'demo' | 'ollama'>, string> = {
  openai: 'openai',
  anthropic: 'anthropic',
  google: 'google',
  deepseek: 'deepseek',
  mistral: 'mistral',
  moonshotai: 'moonshotai',
  groq: 'groq',
  openrouter: 'openrouter',
  xai: 'x-ai',
};

/** Models which are also paid by the search, the minute or the picture; the price of their tokens would not be all. */
const NOT_BY_TOKENS_ALONE =
  /(?:^|[^a-z])(?:search|sonar|research|compound|realtime|live|omni|audio|image|tts|transcribe|voice|embed(?:ding)?)(?:$|[^a-z])/;

/**
 * What may follow a listed beginning of a name: a date or another mark of a release. Anything else may be another
 * model, as `claude-sonnet-5-5` is another one than `claude-sonnet-5`.
 */
const RELEASE =
  /^(?:[-@]?(?:latest|preview|exp|\d{8}|\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{4}|0\d{2})){0,2}$/;

export interface PriceList {
  /** @param atMs the time of the request @returns null for a model that is not listed, or not paid by tokens alone */
  find(provider: ProviderName, model: string, atMs: number): ListedModel | null;
}

/** A model's rates, with cache writes that live for minutes and, where they may be asked for, for an hour. */
export interface ListedModel {
  table: RateTable;
  hourTable: RateTable;
}

interface Index {
  byName: Map<string, ModelInfo>;
  /** Whose names are told by rules. */
  others: { model: ModelInfo; accepts: (name: string) => boolean }[];
}

/** The prices that came with the installed package; it is never updated over the network. */
export async function loadPriceList(): Promise<PriceList> {
  // A command that asks a running server has no use for it, and would wait a twentieth of a second.
  const { findProvider } = await import('@pydantic/genai-prices');
  const indexes = new Map<ProviderName, Index>();
  for (const [name, listedAs] of Object.entries(LISTED_AS)) {
    indexes.set(name as ProviderName, indexOf(findProvider({ providerId: listedAs })?.models ?? []));
  }
  return {
    find(provider, given, atMs) {
      // Google's API lists its models under such names, and takes them.
      const name = provider === 'google' ? given.replace(/^models\//, '') : given;
      const index = indexes.get(provider);
      if (index === undefined || NOT_BY_TOKENS_ALONE.test(name)) return null;
      const model = index.byName.get(name) ?? index.others.find(({ accepts }) => accepts(name))?.model;
      return model === undefined ? null : pricesOf(model, provider, name, atMs);
    },
  };
}

function indexOf(models: ModelInfo[]): Index {
  const byName: Index['byName'] = new Map();
  const others: Index['others'] = [];
  for (const model of models) {
    const rules = 'or' in model.match ? model.match.or : [model.match];
    for (const rule of rules) {
      if ('equals' in rule) {
        if (!byName.has(rule.equals)) byName.set(rule.equals, model);
      } else others.push({ model, accepts: acceptorOf(rule) });
    }
  }
  return { byName, others };
}

/** A rule as a test of names, narrower than the list has it: see `RELEASE`. */
function acceptorOf(rule: MatchLogic): (name: string) => boolean {
  if ('equals' in rule) return (name) => name === rule.equals;
  if ('regex' in rule) {
    const pattern = new RegExp(rule.regex);
    return (name) => pattern.test(name);
  }
  if ('and' in rule) {
    const all = rule.and.map(acceptorOf);
    return (name) => all.every((accepts) => accepts(name));
  }
  if ('or' in rule) {
    const any = rule.or.map(acceptorOf);
    return (name) => any.some((accepts) => accepts(name));
  }
  const known =
    'starts_with' in rule ? rule.starts_with : 'contains' in rule ? rule.contains : rule.ends_with;
  // What follows the name of a fine-tuned model's base is its owner's choice.
  if (known.startsWith('ft:')) return (name) => name.startsWith(known);
  return (name) => name.startsWith(known) && RELEASE.test(name.slice(known.length));
}

/** What a listed model costs at a time; null where that is not said. @param name as it was asked for */
export function pricesOf(
  model: Pick<ModelInfo, 'prices'>,
  provider: ProviderName,
  name: string,
  atMs: number,
): ListedModel | null {
  const [first, ...more] = pricesAt(model.prices, atMs).map((prices) => toListed(prices, provider, name));
  if (!first) return null;
  let dearestOfDay = first;
  for (const other of more) {
    if (!other) return null;
    dearestOfDay = {
      table: dearer(dearestOfDay.table, other.table),
      hourTable: dearer(dearestOfDay.hourTable, other.hourTable),
    };
  }
  return dearestOfDay;
}

/**
 * The prices that may hold on a day. Later entries go before earlier ones. Some providers are cheaper at some hours;
 * the dearest of the day counts, so that what was reserved is enough whenever the provider looks at its clock.
 */
function pricesAt(prices: ListedPrice | ConditionalPrice[], atMs: number): ListedPrice[] {
  if (!Array.isArray(prices)) return [prices as ListedPrice];
  const holding: ListedPrice[] = [];
  for (const { constraint, prices: listed } of (prices as ConditionalPrice[]).toReversed()) {
    if (constraint?.type === 'start_date' && atMs < Date.parse(constraint.start_date)) continue;
    holding.push(listed);
    if (constraint?.type !== 'time_of_date') break;
  }
  return holding;
}

function dearer(one: RateTable, other: RateTable): RateTable {
  const starts = [...one.tiers, ...other.tiers].map(({ above }) => above);
  const at = (above: number): Rates => dearest([ratesAbove(one, above), ratesAbove(other, above)]);
  return {
    base: dearest([one.base, other.base]),
    tiers: ascending(starts).map((above) => ({ above, rates: at(above) })),
  };
}

const ratesAbove = (table: RateTable, start: number): Rates =>
  table.tiers.findLast(({ above }) => start >= above)?.rates ?? table.base;

const ascending = (starts: number[]): number[] => [...new Set(starts)].sort((a, b) => a - b);

/** What a kind of token costs below, or above, a number of input tokens. */
type Price = Exclude<ListedPrice[string], undefined>;

const priceAbove = (price: Price, start: number | null): number =>
  typeof price === 'number'
    ? price
    : ((start === null ? undefined : price.tiers.findLast((tier) => start >= tier.start)?.price) ??
      price.base);

/** Cache writes that the list does not price: Anthropic takes 1.25 times the input's price, for an hour twice. */
export function defaultCacheWrite(provider: ProviderName, model: string): { minutes: number; hour: number } {
  const anthropic = provider === 'anthropic' || (provider === 'openrouter' && model.startsWith('anthropic/'));
  return anthropic ? { minutes: 1.25, hour: 2 } : { minutes: 1, hour: 1 };
}

function toListed(prices: ListedPrice, provider: ProviderName, name: string): ListedModel | null {
  const { input_mtok: input, output_mtok: output } = prices;
  // Where nothing is listed, the price is unknown rather than nothing.
  if (input === undefined || output === undefined) return null;
  const factor = defaultCacheWrite(provider, name);
  const starts = ascending(
    Object.values(prices).flatMap((price) =>
      typeof price === 'object' ? price.tiers.map((t) => t.start) : [],
    ),
  );
  const ratesFrom = (start: number | null, hour: boolean): Rates => {
    const rate = (price: Price, times = 1): bigint => toRate(priceAbove(price, start) * times);
    const minutes = prices.cache_write_mtok;
    const write = minutes === undefined ? rate(input, factor.minutes) : rate(minutes);
    const hourWrite = prices.cache_write_1h_mtok;
    const longWrite = hourWrite === undefined ? rate(input, factor.hour) : rate(hourWrite);
    return {
      input: rate(input),
      cachedInput: rate(prices.cache_read_mtok ?? input),
      cacheWrite: hour && longWrite > write ? longWrite : write,
      output: rate(output),
      reasoning: rate(prices.output_reasoning_mtok ?? output),
    };
  };
  const table = (hour: boolean): RateTable => ({
    base: ratesFrom(null, hour),
    tiers: starts.map((above) => ({ above, rates: ratesFrom(above, hour) })),
  });
  return { table: table(false), hourTable: table(true) };
}
