import { createAnthropic } from './anthropic.ts';
import { PROVIDERS, type ProviderEntry, type ProviderName } from './catalogue.ts';
import { createDemo } from './demo.ts';
import { createOpenAi } from './openai.ts';
import type { Provider } from './provider.ts';
import type { Transport } from './transport.ts';

export interface ProviderEndpoint {
  apiKey: string | null;
  /** Null: the provider's own, from the catalogue. */
  baseUrl: string | null;
}

export interface ProviderSettings {
  endpoints: Record<ProviderName, ProviderEndpoint>;
  /** How often a failed attempt is repeated before the answer has begun. */
  retries: number;
}

export interface Providers {
  /** Whether the provider may be asked: its key is there, or it needs none. */
  ready(name: ProviderName): boolean;
  /** The provider's adapter, made at the first call. @throws an `Error` for one that is not ready. */
  get(name: ProviderName): Provider;
}

/** Every provider of the catalogue, asked with the operator's keys over one transport. */
export function createProviders(settings: ProviderSettings, transport: Transport): Providers {
  const made = new Map<ProviderName, Provider>();
  const ready = (name: ProviderName): boolean =>
    !PROVIDERS[name].needsKey || settings.endpoints[name].apiKey !== null;

  function make(name: ProviderName): Provider {
    const entry: ProviderEntry = PROVIDERS[name];
    const { apiKey, baseUrl } = settings.endpoints[name];
    if (!ready(name)) throw new Error(`The provider "${name}" has no key.`);
    if (entry.baseUrl === null) return createDemo();
    const options = {
      name,
      baseUrl: baseUrl ?? entry.baseUrl,
      retries: settings.retries,
      fetch: transport.fetch,
    };
    if (entry.wire === 'anthropic') return createAnthropic({ ...options, apiKey: apiKey ?? '' });
    return createOpenAi({ ...entry, ...options, apiKey });
  }

  return {
    ready,
    get(name) {
      const provider = made.get(name) ?? make(name);
      made.set(name, provider);
      return provider;
    },
  };
}
