import { QueryClient } from '@tanstack/react-query';
import { ApiError } from './problem.ts';

const STALE_MS = 10_000;
const RETRIES = 2;

/** What another attempt may change: a server that was away or busy for a moment. */
const isPassing = (error: unknown): boolean =>
  error instanceof ApiError && (error.status === 0 || error.status === 502 || error.code === 'overloaded');

/** The cache of what was loaded. */
export const createQueryClient = (): QueryClient =>
  new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: STALE_MS,
        retry: (failures, error) => failures < RETRIES && isPassing(error),
        // A page without a network still talks to a server on the same machine.
        networkMode: 'always',
      },
      // Some are given a secret, which is not to be kept.
      mutations: { networkMode: 'always', gcTime: 0 },
    },
  });
