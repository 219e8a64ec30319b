import { Paper, SimpleGrid, Stack, Title } from '@mantine/core';
import { DayChart } from '../charts.tsx';
import { EmptyState } from '../EmptyState.tsx';
import { ErrorAlert } from '../ErrorAlert.tsx';
import { formatCompact, formatCount, formatPercent, formatUsd } from '../format.ts';
import { Money } from '../Money.tsx';
import { StatTile } from '../StatTile.tsx';
import { fillDays, sumUsage, type Usage } from './figures.ts';

export interface UsageByDayProps {
  /** How many days, ending today (UTC). */
  days: number;
  /** Those that have any; undefined while it is not known. */
  rows: readonly (Usage & { day?: string })[] | undefined;
  error?: unknown;
  onRetry?: () => void;
  /** What to do where nothing was used yet. */
  hint: string;
}

const CHARTS = [
  {
    title: 'Turns',
    format: formatCount,
    series: [
      { name: 'turns', label: 'Answered', color: 'blue.6' },
      { name: 'errors', label: 'Failed', color: 'red.6' },
    ],
  },
  {
    title: 'Tokens',
    format: formatCompact,
    series: [
      { name: 'input_tokens', label: 'Input', color: 'teal.6' },
      { name: 'output_tokens', label: 'Output', color: 'violet.5' },
    ],
  },
  { title: 'Spend', format: formatUsd, series: [{ name: 'cost_usd', label: 'Spend', color: 'orange.6' }] },
];

/** Turns, tokens, spend and errors: summed, and as charts by day. */
export function UsageByDay({ days, rows, error, onRetry, hint }: UsageByDayProps) {
  if (error && !rows) return <ErrorAlert error={error} {...(onRetry && { onRetry })} />;
  const sum = rows && sumUsage(rows);
  const data = fillDays(rows ?? [], days);
  return (
    <Stack>
      <SimpleGrid cols={{ base: 2, md: 4 }}>
        <StatTile label="Turns" value={sum && formatCount(sum.turns)} />
        <StatTile
          label="Tokens"
          value={sum && formatCompact(sum.input_tokens + sum.output_tokens)}
          detail={sum && `${formatCompact(sum.input_tokens)} in, ${formatCompact(sum.output_tokens)} out`}
        />
        <StatTile label="Spend" value={sum && <Money usd={sum.cost_usd} />} />
        <StatTile
          label="Errors"
          value={sum && formatCount(sum.errors)}
          detail={sum && sum.turns > 0 && `${formatPercent(sum.errors / sum.turns)} of the turns`}
        />
      </SimpleGrid>
      {sum?.turns === 0 ? (
        <Paper withBorder>
          <EmptyState title="No turns in these days">{hint}</EmptyState>
        </Paper>
      ) : (
        <SimpleGrid cols={{ base: 1, lg: 3 }}>
          {CHARTS.map(({ title, format, series }) => (
            <Paper key={title} withBorder p="md">
              <Title order={2} size="h5" mb="sm">
                {title} by day
              </Title>
              <DayChart label={`${title} by day`} data={data} series={series} format={format} />
            </Paper>
          ))}
        </SimpleGrid>
      )}
    </Stack>
  );
}
