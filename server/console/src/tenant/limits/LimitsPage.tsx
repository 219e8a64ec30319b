import { Paper, Progress, SimpleGrid, Skeleton, Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { Schema } from '../../api/client.ts';
import { useApi } from '../../session/context.ts';
import { ErrorAlert } from '../../shared/ErrorAlert.tsx';
import { formatBytes, formatCount } from '../../shared/format.ts';
import { Money } from '../../shared/Money.tsx';
import { PageHeader } from '../../shared/PageHeader.tsx';
import { StatTile } from '../../shared/StatTile.tsx';
import { NoScope } from '../NoScope.tsx';
import { limitsQuery, meQuery } from '../queries.ts';
import { useMay } from '../scopes.ts';

/** How often what is left is asked for, since it comes back by itself. */
const REFRESH_MS = 5000;
const UNLIMITED = 'unlimited';

/** What the tenant may use, and what is left of it. */
export function LimitsPage() {
  return (
    <>
      <PageHeader title="Limits" description="They are set by who runs this server." />
      {useMay('read') ? <Limits /> : <NoScope scope="read" />}
    </>
  );
}

function Limits() {
  const api = useApi();
  const me = useQuery(meQuery(api));
  const standing = useQuery({ ...limitsQuery(api), refetchInterval: REFRESH_MS });
  const failed = [me, standing].find((query) => query.error && query.data === undefined);
  if (failed) return <ErrorAlert error={failed.error} onRetry={() => void failed.refetch()} />;
  if (!me.data || !standing.data) return <Skeleton height={240} />;
  const { limits } = me.data.tenant;
  const { requests, tokens, spend, storage, turns_at_once: turns } = standing.data;
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 4 }}>
        <Left title="Turns a minute" share={requests && shareOf(requests.remaining, requests.limit)}>
          {leftOf(requests)}
        </Left>
        <Left title="Tokens a minute" share={tokens && shareOf(tokens.remaining, tokens.limit)}>
          {leftOf(tokens)}
        </Left>
        <Spend spend={spend} />
        <Storage storage={storage} />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <StatTile label="Turns at once" value={runningOf(turns)} />
        <StatTile label="Providers" value={limits.providers?.join(', ') ?? 'all'} />
      </SimpleGrid>
    </Stack>
  );
}

/** Nothing is left of a limit of 0. */
const shareOf = (left: number, limit: number): number => (limit > 0 ? left / limit : 0);

const runningOf = ({ limit, running }: Schema<'LimitStanding'>['turns_at_once']): string =>
  limit === null
    ? `${formatCount(running)}, ${UNLIMITED}`
    : `${formatCount(running)} of ${formatCount(limit)}`;

function leftOf(window: Schema<'LimitStanding'>['requests']): string {
  if (window === null) return UNLIMITED;
  const { limit, remaining, reset_seconds: seconds } = window;
  const left = `${formatCount(remaining)} of ${formatCount(limit)} left`;
  return seconds === 0 ? left : `${left}, all of it in ${seconds} s`;
}

function Spend({ spend }: Pick<Schema<'LimitStanding'>, 'spend'>) {
  const { month, limit_usd: limit, spent_usd: spent, reserved_usd: reserved } = spend;
  const title = `Spend in ${month}`;
  if (limit === null) {
    return (
      <Left title={title} share={null}>
        <Money usd={spent} /> spent, {UNLIMITED}
      </Left>
    );
  }
  // Nothing, where the limit was lowered below what is used.
  const left = Math.max(0, limit - spent - reserved);
  return (
    <Left title={title} share={shareOf(left, limit)}>
      <Money usd={left} /> of <Money usd={limit} /> left
      {reserved > 0 && (
        <>
          , <Money usd={reserved} /> held for turns that run
        </>
      )}
    </Left>
  );
}

function Storage({ storage }: Pick<Schema<'LimitStanding'>, 'storage'>) {
  const { limit_bytes: limit, used_bytes: used } = storage;
  if (limit === null) {
    return (
      <Left title="Storage" share={null}>
        {formatBytes(used)} used, {UNLIMITED}
      </Left>
    );
  }
  const left = Math.max(0, limit - used);
  return (
    <Left title="Storage" share={shareOf(left, limit)}>
      {formatBytes(left)} of {formatBytes(limit)} left
    </Left>
  );
}

interface LeftProps {
  title: string;
  /** From 0 to 1; null where there is no limit. */
  share: number | null;
  children: ReactNode;
}

const LOW_SHARE = 0.1;

function Left({ title, share, children }: LeftProps) {
  return (
    <Paper withBorder p="md">
      <Title order={2} size="h5" mb="xs">
        {title}
      </Title>
      {share !== null && (
        <Progress.Root size="lg" mb="xs">
          <Progress.Section
            value={share * 100}
            color={share < LOW_SHARE ? 'red' : 'blue'}
            aria-label={`${title}: what is left`}
          />
        </Progress.Root>
      )}
      <Text size="sm" component="div">
        {children}
      </Text>
    </Paper>
  );
}
