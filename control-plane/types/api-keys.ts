import type { Listing, Page } from '../../tenant-schema/store.ts';
import type { Actor } from './admins.ts';

/** `chat`: turns. `read`: every GET. `manage`: configs, keys, export, changes to conversations. */
export type Scope = 'chat' | 'read' | 'manage';
export const SCOPES: readonly Scope[] = ['chat', 'read', 'manage'];

/** A key as it is listed: nothing in it opens anything. */
export interface ApiKey {
  id: string;
  tenantId: string;
  name: string;
  /** `nbs_` and the key id, the part of a key that may be shown. */
  prefix: string;
  scopes: Scope[];
  createdAt: number;
  expiresAt: number | null;
  /** Written at most once a minute, so a process that was killed may have lost the last one. */
  lastUsedAt: number | null;
  revokedAt: number | null;
}

/** A key just made or rotated. `secret` is the whole text of the key and exists only here. */
export interface IssuedKey {
  key: ApiKey;
  secret: string;
}

export interface NewKey {
  name: string;
  /** All three when absent. */
  scopes?: Scope[] | undefined;
  expiresAt?: number | null | undefined;
}

export interface Rotation {
  /** How long the secret that is replaced goes on working; 0 ends it at once. */
  overlapMs: number;
  /** What the key may allow at most, for a caller who must not get more; absent: anything. */
  scopesMax?: readonly Scope[];
}

/** Keys that tenants are known by. */
export interface ApiKeyVerbs {
  /** The ids of tenants, deleted ones apart, that no key opens: each is revoked or expired. */
  listKeyless(): string[];
  createKey(tenantId: string, key: NewKey, actor: Actor): IssuedKey;
  listKeys(tenantId: string, page: Page): Listing<ApiKey>;
  /**
   * Gives a key a new secret; all else of it stays. Of earlier secrets only the one replaced here may go on working,
   * until the overlap ends or the key does: one that an earlier rotation left working is dead when this returns.
   * @throws `not_found` for a revoked key, `insufficient_scope` for one that allows more than `scopesMax`,
   *   `validation_failed` for one that has expired.
   */
  rotateKey(tenantId: string, keyId: string, rotation: Rotation, actor: Actor): IssuedKey;
  /** @param options.keepManager refuses to leave the tenant without another key that can manage keys for at least as long; default false */
  revokeKey(tenantId: string, keyId: string, actor: Actor, options?: { keepManager: boolean }): void;
}
