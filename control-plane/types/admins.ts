import type { Listing, Page } from '../../tenant-schema/store.ts';

/**
 * What an admin token allows. `auditor`: every GET that gives no tenant's data away. `operator`: all but admin tokens
 * and the master key. `owner`: everything.
 */
export type AdminRole = 'owner' | 'operator' | 'auditor';
/** Each allows what those before it do. */
export const ADMIN_ROLES: readonly AdminRole[] = ['auditor', 'operator', 'owner'];

/** An admin token as it is listed: nothing in it opens anything. */
export interface AdminToken {
  id: string;
  name: string;
  role: AdminRole;
  createdAt: number;
  /** Written at most once a minute. */
  lastUsedAt: number | null;
  revokedAt: number | null;
}

/** Who did an admin action, for the audit table. */
export interface Actor {
  /** Id and name of the admin token, or `system` for what the server does by itself. */
  id: string;
  name: string;
  requestId: string | null;
}

/** Whose an admin token is, and what it allows. */
export interface Admin extends Actor {
  role: AdminRole;
}

/** Who may administer the server. */
export interface AdminVerbs {
  /**
   * The admin whose token this is, or undefined. A right token is found whatever else has been tried, also from the
   * same address; its row is read each time. Most wrong ones are told without an argon2 verification.
   * @throws `rate_limited` for a wrong token, or for one that only argon2 can tell, when this address has tried too many
   */
  findAdmin(token: string, address: string): Promise<Admin | undefined>;
  /**
   * Makes an admin token; its text exists only here.
   * @throws `already_exists` for the name of the stored one, `unauthorized` where the actor's own was revoked meanwhile
   */
  createAdminToken(
    token: { name: string; role: AdminRole },
    actor: Actor,
  ): Promise<{ token: AdminToken; secret: string }>;
  listAdminTokens(page: Page): Listing<AdminToken>;
  /** Dead when this returns. @throws `validation_failed` for the last one with the role `owner` */
  revokeAdminToken(id: string, actor: Actor): void;
  /** Replaces the stored token, the one of the name `admin`, by a text that the operator has chosen. */
  setAdminToken(token: string): Promise<void>;
  /** Makes the stored token where no owner's is in force and gives its text, which exists only here; else null. */
  ensureAdminToken(): Promise<string | null>;
  /** False until the first start has come to its end. */
  hasAdminToken(): boolean;
}
