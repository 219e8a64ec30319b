import type { CallIdForm } from './fitting.ts';

/** How a provider is spoken to: which adapter, where by default, and whether a key is needed. */
export interface ProviderEntry {
  wire: 'openai' | 'anthropic' | 'demo';
  /** Null where nothing is asked over the network. */
  baseUrl: string | null;
  needsKey: boolean;
  /** False where asking for usage in a stream is an error; such providers send it unasked. */
  streamUsageOption: boolean;
  /** True where a message with tool calls must be sent back with the `reasoning_content` it came with. */
  returnsReasoning: boolean;
  /** Which ids of tool calls it takes in a history; others are replaced on the way out. */
  callIdForm: CallIdForm;
  /** False where a user's message must not follow a tool's result; an assistant's word is put between them. */
  userAfterTool: boolean;
  /**
   * The parameters by which it lets the length of an answer be limited, reasoning included. The first is sent where
   * the server sets the limit; others that a request may hold it does not obey.
   */
  outputLimits: readonly string[];
  /** What a turn costs the operator when no price list says otherwise: nothing. */
  free: boolean;
}

const compatible = (baseUrl: string): ProviderEntry & { wire: 'openai'; baseUrl: string } => ({
  wire: 'openai',
  baseUrl,
  needsKey: true,
  streamUsageOption: true,
  returnsReasoning: false,
  callIdForm: 'plain',
  userAfterTool: true,
  outputLimits: ['max_tokens'],
  free: false,
});

/** Every provider there is. `<NAME>_API_KEY` and `<NAME>_BASE_URL` in the environment belong to it. */
export const PROVIDERS = {
  // Its reasoning models refuse `max_tokens`.
  openai: {
    ...compatible('https://api.openai.com/v1'),
    outputLimits: ['max_completion_tokens', 'max_tokens'],
  },
  anthropic: { ...compatible('https://api.anthropic.com'), wire: 'anthropic' },
  google: {
    ...compatible('https://generativelanguage.googleapis.com/v1beta/openai/'),
    outputLimits: ['max_tokens', 'max_completion_tokens'],
  },
  deepseek: { ...compatible('https://api.deepseek.com/v1'), returnsReasoning: true },
  mistral: {
    ...compatible('https://api.mistral.ai/v1'),
    streamUsageOption: false,
    callIdForm: 'nine',
    userAfterTool: false,
  },
  moonshotai: { ...compatible('https://api.moonshot.ai/v1'), returnsReasoning: true, callIdForm: 'dotted' },
  groq: {
    ...compatible('https://api.groq.com/openai/v1'),
    outputLimits: ['max_completion_tokens', 'max_tokens'],
  },
  openrouter: compatible('https://openrouter.ai/api/v1'),
  xai: { ...compatible('https://api.x.ai/v1'), outputLimits: ['max_completion_tokens', 'max_tokens'] },
  ollama: { ...compatible('http://127.0.0.1:11434/v1'), needsKey: false, free: true },
  demo: {
    wire: 'demo',
    baseUrl: null,
    needsKey: false,
    streamUsageOption: false,
    returnsReasoning: false,
    callIdForm: 'plain',
    userAfterTool: true,
    outputLimits: ['max_tokens'],
    free: true,
  },
} as const satisfies Record<string, ProviderEntry>;

export type ProviderName = keyof typeof PROVIDERS;
export const PROVIDER_NAMES = Object.keys(PROVIDERS) as ProviderName[];
export const isProviderName = (name: string): name is ProviderName => Object.hasOwn(PROVIDERS, name);
