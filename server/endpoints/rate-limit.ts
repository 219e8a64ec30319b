import type { LimitStanding, WindowStanding } from '../../tenant-schema/store.ts';

/** The headers of an answer by which a client sees its rolling limits. Times are in whole seconds. */
export const RATE_LIMIT_HEADERS = [
  'RateLimit-Limit',
  'RateLimit-Remaining',
  'RateLimit-Reset',
  ...['requests', 'tokens'].flatMap((what) =>
    ['limit', 'remaining', 'reset'].map((figure) => `x-ratelimit-${figure}-${what}`),
  ),
];

/** Says how a tenant's rolling limits stand; nothing of one that is not set. */
export function rateLimitHeaders({ requests, tokens }: LimitStanding): Record<string, string> {
  const named = requests ?? tokens;
  return {
    ...(named && figures(named, (figure) => `RateLimit-${figure}`)),
    ...(requests && figures(requests, (figure) => `x-ratelimit-${figure.toLowerCase()}-requests`)),
    ...(tokens && figures(tokens, (figure) => `x-ratelimit-${figure.toLowerCase()}-tokens`)),
  };
}

const figures = (
  { limit, remaining, resetMs }: WindowStanding,
  name: (figure: string) => string,
): Record<string, string> => ({
  [name('Limit')]: String(limit),
  [name('Remaining')]: String(remaining),
  [name('Reset')]: String(Math.ceil(resetMs / 1000)),
});
