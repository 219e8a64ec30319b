import { Fault } from '../../tenant-schema/fault.ts';
import type { Config, TurnDemand, TurnLimits, TurnSize } from '../../tenant-schema/store.ts';
import { inputSizeOf, inputTokensEstimate, inputTokensMax, outputTokensMaxOf } from '../pricing/bounds.ts';
import type { ModelPrice } from '../pricing/pricing.ts';

export interface DemandParts {
  config: Config;
  /** The rendered system prompt. */
  system: string;
  size: TurnSize;
  price: ModelPrice | null;
  limits: TurnLimits;
}

/**
 * What a turn may come to use, from its bytes: nothing of its text is read.
 * @returns `outputTokensMax`: what the model is to be told, where the config itself does not bound its answer
 * @throws `pricing_unavailable` where a budget is to be kept and nobody knows what the model costs
 */
export function demandOf({ config, system, size, price, limits }: DemandParts): {
  demand: TurnDemand;
  outputTokensMax: number | null;
} {
  if (price === null && limits.monthlySpendMicroUsd !== null) {
    throw new Fault(
      'pricing_unavailable',
      `No price is known for "${config.modelConfig.model}", and this tenant has a budget; the operator adds it to PRICES_FILE.`,
      { details: { limit: 'monthly_spend_usd' } },
    );
  }
  const input = inputSizeOf(config, system, size);
  const output = outputTokensMaxOf(config.modelConfig, price);
  return {
    demand: {
      inputTokens: inputTokensEstimate(input),
      outputTokensMax: output.tokens,
      costMicroUsdMax: price?.costMax(inputTokensMax(input), output.tokens) ?? null,
      priceVersion: price?.version ?? null,
    },
    // Without a budget to be kept, a config that bounds nothing means it.
    outputTokensMax: output.isOwn || limits.monthlySpendMicroUsd === null ? null : output.tokens,
  };
}
