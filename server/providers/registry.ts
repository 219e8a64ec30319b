import { Fault } from '../../tenant-schema/fault.ts';
import { createAnthropic } from './anthropic.ts';
import { PROVIDERS, type ProviderEntry, type ProviderName } from './catalogue.ts';
import { createDemo } from './demo.ts';
import { createOpenAi } from './openai.ts';
import type { Provider } from './provider.ts';
import type { Transport } from './transport.ts';
import type { Adapter } from './upstream.ts';

export interface ProviderEndpoint {
  apiKey: string | null;
  /** Null: the provider's own, from the catalogue. */
  baseUrl: string | null;
}

export interface ProviderSettings {
  endpoints: Record<ProviderName, ProviderEndpoint>;
  /** How often a failed attempt is repeated before the answer has begun. */
  retries: number;
  /** Whether the operator's keys serve tenants that have none of their own. Default: true. */
  allowServerKeys?: boolean;
}

export interface Providers {
  /** Whether the provider may be asked: there is a key, the tenant's own or the operator's, or it needs none. */
  ready(name: ProviderName, ownKey?: string | null): boolean;
  /** What a tenant is told where the provider is not ready: `provider_not_configured`, and where its key is put. */
  notReady(name: ProviderName): Fault;
  /**
   * The provider, with the tenant's own key where it has one. With the operator's it is made once; with a tenant's it is
   * made for this turn, around a client that all keys share, so that no key is kept. @throws an `Error` where it is not
   * ready
   */
  get(name: ProviderName, ownKey?: string | null): Provider;
}

/** Every provider of the catalogue over one transport. */
export function createProviders(settings: ProviderSettings, transport: Transport): Providers {
  const { endpoints, retries, allowServerKeys = true } = settings;
  const adapters = new Map<ProviderName, Adapter>();
  /** With the operator's keys. */
  const made = new Map<ProviderName, Provider>();
  const serverKey = (name: ProviderName): string | null => (allowServerKeys ? endpoints[name].apiKey : null);
  const ready: Providers['ready'] = (name, ownKey = null) =>
    !PROVIDERS[name].needsKey || ownKey !== null || serverKey(name) !== null;

  function adapterOf(name: ProviderName): Adapter {
    const entry: ProviderEntry = PROVIDERS[name];
    if (entry.baseUrl === null) return createDemo;
    const baseUrl = endpoints[name].baseUrl ?? entry.baseUrl;
    const options = { name, baseUrl, retries, transport };
    return entry.wire === 'anthropic' ? createAnthropic(options) : createOpenAi({ ...entry, ...options });
  }

  function make(name: ProviderName, ownKey: string | null): Provider {
    if (!ready(name, ownKey)) throw new Error(`The provider "${name}" has no key.`);
    const adapter = adapters.get(name) ?? adapterOf(name);
    adapters.set(name, adapter);
    return adapter({ apiKey: ownKey ?? serverKey(name), isOwnKey: ownKey !== null });
  }

  return {
    ready,

    notReady(name) {
      const own = `put the tenant's own with PUT /api/v1/providers/${name}`;
      const operator = `the operator sets ${name.toUpperCase()}_API_KEY and restarts the server`;
      return new Fault(
        'provider_not_configured',
        allowServerKeys
          ? `The provider "${name}" has no API key: ${own}, or ${operator}.`
          : `The provider "${name}" has no API key, and this server gives none of its own: ${own}.`,
      );
    },

    get(name, ownKey = null) {
      if (ownKey !== null) return make(name, ownKey);
      const provider = made.get(name) ?? make(name, null);
      made.set(name, provider);
      return provider;
    },
  };
}
