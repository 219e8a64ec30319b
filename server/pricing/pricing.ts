import type { Clock } from '../../tenant-schema/clock.ts';
import type { JsonObject, TokenUsage } from '../../tenant-schema/store.ts';
import { PROVIDERS, type ProviderName } from '../providers/catalogue.ts';
import { loadPriceList, PRICE_LIST } from './price-list.ts';
import { ANY_MODEL, type FilePrice, PricesFileError, readPricesFile } from './prices-file.ts';
import { costMaxOf, costOf, type RateTable } from './rates.ts';

/** What one model costs, as it was known when it was asked for. */
export interface ModelPrice {
  /** Names the price list, and the content of the file of prices where there is one. At most 64 characters. */
  version: string;
  /** What the model writes at most in one answer; null where nobody said. */
  outputTokensMax: number | null;
  /** In micro-dollars, rounded up once. */
  cost(usage: TokenUsage): number;
  /** What any usage of at most so many tokens costs at most, in micro-dollars. */
  costMax(inputTokensMax: number, outputTokensMax: number): number;
}

export interface Pricing {
  /**
   * Null where no price is known, which is not the same as no cost.
   * @param parameters those of the request: some ask for what costs more
   */
  priceOf(provider: ProviderName, model: string, parameters?: JsonObject): ModelPrice | null;
  /** Reads the file of prices again. Where it cannot be used the old prices stay, and the log says why. */
  reload(): void;
}

export interface PricingOptions {
  /** Prices that go before those of the list, and add to them; null for none. */
  file: string | null;
  clock: Clock;
  log: { info(fields: object, message: string): void; error(fields: object, message: string): void };
}

const NOTHING: RateTable = {
  base: { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n, reasoning: 0n },
  tiers: [],
};
const FREE: FilePrice = { table: NOTHING, hourTable: NOTHING, outputTokensMax: null };

/**
 * Prices by the model's own entry in the file, by the list, by the file's entry for any other model, in this order;
 * what no money is asked for costs nothing.
 * @throws `PricesFileError` for a file that cannot be used
 */
export async function createPricing({ file, clock, log }: PricingOptions): Promise<Pricing> {
  const list = await loadPriceList();
  let own = file === null ? null : readPricesFile(file);

  return {
    priceOf(provider, model, parameters = {}) {
      const listed = (): FilePrice | null => {
        const found = list.find(provider, model, clock.now());
        return found && { ...found, outputTokensMax: null };
      };
      const price =
        own?.find(provider, model) ??
        listed() ??
        own?.find(provider, ANY_MODEL) ??
        (PROVIDERS[provider].free ? FREE : null);
      if (price === null) return null;
      const version = own === null ? PRICE_LIST : `${PRICE_LIST}+${own.hash}`;
      return toModelPrice(
        version,
        asksForHourCache(parameters) ? price.hourTable : price.table,
        price.outputTokensMax,
      );
    },

    reload() {
      if (file === null) return;
      try {
        own = readPricesFile(file);
        log.info({ file, version: own.hash }, 'the prices were read again');
      } catch (error) {
        if (!(error instanceof PricesFileError)) throw error;
        log.error({ file, reason: error.message }, 'the file of prices cannot be used; the old prices stay');
      }
    },
  };
}

const toModelPrice = (version: string, table: RateTable, outputTokensMax: number | null): ModelPrice => ({
  version,
  outputTokensMax,
  cost: (usage) => costOf(table, usage),
  costMax: (inputTokens, outputTokens) => costMaxOf(table, inputTokens, outputTokens),
});

/** Anthropic keeps what it is told to for five minutes or, at a higher price, an hour. */
function asksForHourCache({ cache_control: asked }: JsonObject): boolean {
  return typeof asked === 'object' && asked !== null && 'ttl' in asked && asked.ttl !== '5m';
}
