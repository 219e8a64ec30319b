import { createContext, useContext, useSyncExternalStore } from 'react';
import type { Api } from '../api/client.ts';
import type { Session, SessionState, SessionStore } from './session.ts';

/** What the whole page works with, made once in main.tsx. */
export interface Console {
  api: Api;
  sessions: SessionStore;
}

export const ConsoleContext = createContext<Console | null>(null);

function useConsole(): Console {
  const found = useContext(ConsoleContext);
  if (found === null) throw new Error('used outside of the console');
  return found;
}

export const useApi = (): Api => useConsole().api;
export const useSessions = (): SessionStore => useConsole().sessions;

export function useSessionState(): SessionState {
  const sessions = useSessions();
  return useSyncExternalStore(sessions.subscribe, sessions.state);
}

/** Who is signed in. Only for what is shown to somebody who is, or was until a moment ago. */
export function useSession(): Session {
  const state = useSessionState();
  if (!('session' in state)) throw new Error('nobody is signed in');
  return state.session;
}

/** Whether the one who is signed in may change what tenants have; an auditor may only look. */
export function useMayOperate(): boolean {
  const session = useSession();
  return session.kind === 'operator' && session.role !== 'auditor';
}
