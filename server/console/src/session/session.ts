import type { Schema } from '../api/client.ts';
import { ApiError, errorOf, unreachable } from '../api/problem.ts';

/** Who is signed in. */
export type Session = Schema<'Session'>;

/** Whose data a page shows. */
export const identityOf = (session: Session): string =>
  `${session.kind === 'tenant' ? session.tenant.id : 'operator'} ${session.name}`;

/** `expired`: the browser no longer has the session that the page was opened with. */
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
  /** Shows the sign-in; what session the browser has, the next one ends. */
  forget(): void;
  /** An answer was none of success: the session may be over, or another one in its place. */
  refused(error: ApiError): void;
  /** Goes on with the session that the browser has now where it is of the same one; ends where it is not. */
  recheck(): Promise<void>;
}

const ENDPOINT = '/console/session';
/**
 * Says only that there may be a session, and until when, so that a first visit asks for none and gets no 401, and other
 * windows hear of a new one.
 */
export const SIGNED_IN_HINT = 'nimblesite-signed-in';
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
    if (next.status === 'signed-in') hints.setItem(SIGNED_IN_HINT, next.session.expires_at);
    if (next.status === 'signed-out') hints.removeItem(SIGNED_IN_HINT);
    for (const listener of listeners) listener();
  };
  const csrfToken = (): string | null => ('session' in state ? state.session.csrf_token : null);
  const read = async (): Promise<Session> => (await call(ENDPOINT)).json();
  const recheck = async (): Promise<void> => {
    if (!('session' in state)) return;
    const { session: before } = state;
    const session = await read().catch(() => null);
    // Meanwhile, somebody has signed in or out here.
    if (!('session' in state) || state.session !== before) return;
    const isSame = session !== null && identityOf(session) === identityOf(before);
    become(isSame ? { status: 'signed-in', session } : { status: 'expired', session: before });
  };

  return {
    state: () => state,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    csrfToken,
    async load() {
      if (hints.getItem(SIGNED_IN_HINT) === null) return become({ status: 'signed-out' });
      become({ status: 'loading' });
      try {
        become({ status: 'signed-in', session: await read() });
      } catch (error) {
        become(isOver(error) ? { status: 'signed-out' } : { status: 'unreachable', error });
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
        if (!isOver(error)) throw error;
      });
      become({ status: 'signed-out' });
    },
    forget: () => become({ status: 'signed-out' }),
    refused(error) {
      if (isOver(error) && state.status === 'signed-in')
        become({ status: 'expired', session: state.session });
      if (error.code === 'csrf_failed') void recheck();
    },
    recheck,
  };
}

const isOver = (error: unknown): boolean => error instanceof ApiError && error.status === 401;
