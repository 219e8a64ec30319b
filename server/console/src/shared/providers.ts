import type { Schema } from '../api/client.ts';

export type Provider = Schema<'ProviderKey'>['name'];

/** A provider that is missing here, or too much, does not compile. */
const TAKES_KEY: Record<Provider, boolean> = {
  openai: true,
  anthropic: true,
  google: true,
  deepseek: true,
  mistral: true,
  moonshotai: true,
  groq: true,
  openrouter: true,
  xai: true,
  ollama: true,
  demo: false,
};

export const isProvider = (name: string): name is Provider => Object.hasOwn(TAKES_KEY, name);

/** Whose models the server can ask. */
export const PROVIDERS: readonly Provider[] = Object.keys(TAKES_KEY).filter(isProvider);
/** Those at which one can have a key. */
export const KEYED_PROVIDERS: readonly Provider[] = PROVIDERS.filter((name) => TAKES_KEY[name]);
