import type { Admin } from './admins.ts';
import type { TenantIdentity } from './tenants.ts';

/** How long a session lasts: without a request, and at most. */
export interface SessionLimits {
  idleMs: number;
  lifetimeMs: number;
}

/** What somebody signs in with. */
export type Credentials = { adminToken: string } | { apiKey: string };

/** Whom a session speaks for: whoever its admin token or key does, as long as that does. */
export type SessionOwner = { kind: 'admin'; admin: Admin } | { kind: 'tenant'; identity: TenantIdentity };

export interface Session {
  id: string;
  owner: SessionOwner;
  /** It ends then whatever happens. */
  expiresAt: number;
  /** It ends after so long without a request. */
  idleMs: number;
}

/** Who is signed in to the console. */
export interface SessionVerbs {
  /**
   * Begins a session; `text` opens it and exists only here.
   * @throws `unauthorized`; `rate_limited` for what is wrong when this address has tried too much; `tenant_suspended`
   */
  signIn(
    credentials: Credentials,
    address: string,
    requestId: string,
  ): Promise<{ session: Session; text: string }>;
  /**
   * The session that a text opens, or undefined where it is unknown or over, or where the admin token or the secret
   * of the key that began it opens nothing any more. All rows are read each time. A suspended tenant's is found.
   */
  findSession(text: string): Session | undefined;
  /** Ends the session, or every one of its admin token or key; it is dead when this returns. */
  signOut(session: Session, requestId: string, options: { everywhere: boolean }): void;
  /** Removes sessions that are over; gives how many. */
  removeExpiredSessions(): number;
}
