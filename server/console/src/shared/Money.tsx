import { Text, Tooltip } from '@mantine/core';
import { formatUsd } from './format.ts';

/** US dollars; null is unknown, since a price was. */
export function Money({ usd }: { usd: number | null }) {
  if (usd === null) {
    return (
      <Tooltip label="The price of at least one of the models is not known">
        <Text span inherit>
          unknown
        </Text>
      </Tooltip>
    );
  }
  return (
    // Money is whole micro-dollars; the rest of a sum of fractions is none.
    <Tooltip label={`$${Number(usd.toFixed(6))}`}>
      <Text span inherit>
        {formatUsd(usd)}
      </Text>
    </Tooltip>
  );
}
