import type { Schema } from '../api/client.ts';
import { errorOf, unreachable } from '../api/problem.ts';

/** Who is signed in. */
export type Session = Schema<'Session'>;

/** `expired`: the server no longer knows the session that the page was opened with. */
export type SessionState =
  | { status: 'loading' | 'signed-out' }
  | { status: 'unreachable'; error: unknown }
  | { status: 'signed-in' | 'expired'; session: Session };

export interface SessionStore {
  state(): SessionState;
  subscribe(listener: () => void): () => void;
  csrfToken(): string | null;
  /** Finds out whether the browser still has a session. */
  load(): Promise<void>;
  /** @throws `ApiError` where the secret is not known, or too many were tried. */
  signIn(secret: string): Promise<void>;
  /** @param everywhere ends the other sessions of the same token or key too. */
  signOut(options: { everywhere: boolean }): Promise<void>;
  /** The server has refused the session. */
  expire(): void;
}

const ENDPOINT = '/console/session';
/** Says only that there may be a session, so that a first visit asks for none and gets no 401. */
const HINT = 'nimblesite-signed-in';
const TENANT_KEY = /^nbs_/;

async function call(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, { credentials: 'same-origin', ...init }).catch(() => {
    throw unreachable();
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** Keeps the session of this page; the secret itself is never kept. */
export function createSessionStore(hints: Storage): SessionStore {
  let state: SessionState = { status: 'loading' };
  const listeners = new Set<() => void>();

  const become = (next: SessionState): void => {
    state = next;
    if (next.status === 'signed-in') hints.setItem(HINT, '1');
    if (next.status === 'signed-out') hints.removeItem(HINT);
    for (const listener of listeners) listener();
  };
  const csrfToken = (): string | null => ('session' in state ? state.session.csrf_token : null);

  return {
    state: () => state,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    csrfToken,
    async load() {
      if (hints.getItem(HINT) === null) return become({ status: 'signed-out' });
      become({ status: 'loading' });
      try {
        const response = await call(ENDPOINT);
        become({ status: 'signed-in', session: (await response.json()) as Session });
      } catch (error) {
        const isRefused = error instanceof Error && 'status' in error && error.status === 401;
        become(isRefused ? { status: 'signed-out' } : { status: 'unreachable', error });
      }
    },
    async signIn(secret) {
      const body = TENANT_KEY.test(secret) ? { api_key: secret } : { admin_token: secret };
      const response = await call(ENDPOINT, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
      });
      become({ status: 'signed-in', session: (await response.json()) as Session });
    },
    async signOut({ everywhere }) {
      const token = csrfToken();
      const init = { method: 'DELETE', headers: token === null ? {} : { 'X-CSRF-Token': token } };
      await call(everywhere ? `${ENDPOINT}?everywhere=true` : ENDPOINT, init).catch((error: unknown) => {
        // A session that is gone already is what was asked for.
        if (!(error instanceof Error && 'status' in error && error.status === 401)) throw error;
      });
      become({ status: 'signed-out' });
    },
    expire() {
      if (state.status === 'signed-in') become({ status: 'expired', session: state.session });
    },
  };
}
