import { Button, Center, Loader, Stack } from '@mantine/core';
import { QueryClientProvider, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { ApiError } from '../api/problem.ts';
import { createQueryClient } from '../api/queries.ts';
import { ErrorAlert } from '../shared/ErrorAlert.tsx';
import { useSession, useSessionState, useSessions } from './context.ts';
import { ExpiredDialog } from './ExpiredDialog.tsx';
import { SignInPage } from './SignInPage.tsx';
import { identityOf } from './session.ts';

/** Shows the console to who is signed in, and the sign-in to everybody else. */
export function SessionGate({ children }: { children: ReactNode }) {
  const state = useSessionState();
  const sessions = useSessions();

  useEffect(() => {
    void sessions.load();
  }, [sessions]);

  switch (state.status) {
    case 'loading':
      return (
        <Center component="main" mih="100dvh">
          <Loader aria-label="Loading" />
        </Center>
      );
    case 'unreachable':
      return (
        <Center component="main" mih="100dvh" p="md">
          <Stack>
            <ErrorAlert error={state.error} />
            <Button onClick={() => sessions.load()}>Try again</Button>
            {state.error instanceof ApiError && state.error.status !== 0 && (
              <Button variant="default" onClick={sessions.forget}>
                Sign in as somebody else
              </Button>
            )}
          </Stack>
        </Center>
      );
    case 'signed-out':
      return <SignInPage />;
    default:
      return <Signed key={identityOf(state.session)}>{children}</Signed>;
  }
}

/** What was loaded for one who is signed in is never shown to another: each has a cache of its own. */
function Signed({ children }: { children: ReactNode }) {
  const [queries] = useState(createQueryClient);
  return (
    <QueryClientProvider client={queries}>
      {children}
      <Refresh />
      <ExpiredDialog />
    </QueryClientProvider>
  );
}

/** Loads again, after a sign-in over an open page or in another window, what failed meanwhile. */
function Refresh() {
  const { csrf_token: session } = useSession();
  const queries = useQueryClient();
  const before = useRef(session);
  useEffect(() => {
    if (before.current !== session) void queries.invalidateQueries();
    before.current = session;
  }, [session, queries]);
  return null;
}
