import type { Listing, Page } from '../../tenant-schema/store.ts';
import type { MasterKey } from '../master-key.ts';
import type { Actor } from './admins.ts';

/** A tenant's own key at a provider, as it is listed. */
export interface ProviderKey {
  /** The provider's. */
  name: string;
  /** Its last four characters; empty where it has fewer than eight. */
  last4: string;
  updatedAt: number;
}

/** What becomes of a sealed key that no master key at hand opens. */
export type Unopenable = 'refuse' | 'drop' | 'keep';

/** How many provider keys were sealed anew, and how many were removed because nothing opens them. */
export interface Reseal {
  resealed: number;
  dropped: number;
}

export interface ProviderKeysCheck {
  sealed: number;
  /** Of those, how many no master key at hand opens, and whose they are. */
  unopenable: number;
  tenantIds: string[];
}

/** Tenants' own keys at providers. */
export interface ProviderKeyVerbs {
  /**
   * Puts a tenant's own key at a provider in the place of the one before.
   * @throws `provider_not_configured` while there is no master key
   */
  putProviderKey(tenantId: string, provider: string, apiKey: string, actor: Actor): ProviderKey;
  /** The latest change first. */
  listProviderKeys(tenantId: string, page: Page): Listing<ProviderKey>;
  getProviderKey(tenantId: string, provider: string): ProviderKey;
  deleteProviderKey(tenantId: string, provider: string, actor: Actor): void;
  /**
   * The text of a tenant's own key, for a call of that provider and for nothing else; null where it has none. Read at
   * each call, for about 20 µs, and kept nowhere.
   * @throws `provider_not_configured` where it is there and no master key opens it
   */
  openProviderKey(tenantId: string, provider: string): string | null;
  /** From now on the one master key seals provider keys, and both open them; at first there is none. */
  unlockProviderKeys(current: MasterKey | null, previous?: MasterKey | null): void;
  /**
   * Seals every provider key with `next`, in one transaction. To be followed by `unlockProviderKeys`.
   * @param unopenable `refuse` changes nothing where there is one that nothing opens
   */
  resealProviderKeys(next: MasterKey, unopenable: Unopenable, actor: Actor): Reseal;
  /** How many provider keys there are, or how many one master key has sealed. */
  countProviderKeys(masterKeyId?: string): number;
  /** Opens every provider key, in batches between which the event loop goes on. */
  checkProviderKeys(): Promise<ProviderKeysCheck>;
}
