import { inspect } from 'node:util';
import { PROVIDER_NAMES, type ProviderName } from '../../../server/providers/catalogue.ts';
import type { Provider, ProviderEvent, ProviderRequest } from '../../../server/providers/provider.ts';
import { createProviders, type ProviderEndpoint } from '../../../server/providers/registry.ts';
import { createTransport, type Transport } from '../../../server/providers/transport.ts';
import { HIDDEN_BYTES_MAX } from '../../../server/providers/upstream.ts';
import { Fault } from '../../../tenant-schema/fault.ts';
import type { MessageDraft, ToolCall } from '../../../tenant-schema/store.ts';
import type { Upstream } from '../../support/upstream.ts';

export const KEY = 'sk-canary-0123456789abcdef';

const PIECES = 64;
/** A text of all the hidden bytes that an adapter takes in, in pieces. */
export const ALL_HIDDEN_BYTES = Array.from({ length: PIECES }, () => 'x'.repeat(HIDDEN_BYTES_MAX / PIECES));

/** Endpoints of every provider, the same for each wire format. */
export function endpointsAt(
  upstream: Upstream,
  apiKey: string | null = KEY,
): Record<ProviderName, ProviderEndpoint> {
  const endpoints: Partial<Record<ProviderName, ProviderEndpoint>> = {};
  for (const name of PROVIDER_NAMES) {
    endpoints[name] = { apiKey, baseUrl: name === 'anthropic' ? upstream.anthropicUrl : upstream.openaiUrl };
  }
  return endpoints as Record<ProviderName, ProviderEndpoint>;
}

export interface Rig {
  transport: Transport;
  provider(name: ProviderName, retries?: number): Provider;
}

/** Providers over a transport of their own, which the caller closes. It outlasts any test that waits for a connection to close. */
export function rigFor(upstream: Upstream, idleTimeoutMs = 60_000): Rig {
  const transport = createTransport({ connectTimeoutMs: 2_000, idleTimeoutMs });
  return {
    transport,
    provider: (name, retries = 0) =>
      createProviders({ endpoints: endpointsAt(upstream), retries }, transport).get(name),
  };
}

export const user = (content: string): MessageDraft => ({ role: 'user', id: 'm', content });

export const assistant = (
  content: string | null,
  toolCalls: ToolCall[] = [],
  providerData: { provider: string; data: unknown } | null = null,
): MessageDraft => ({ role: 'assistant', id: 'm', content, toolCalls, providerData, status: 'complete' });

export const result = (toolCallId: string, name: string, content: string, isError = false): MessageDraft => ({
  role: 'tool',
  id: 'm',
  toolCallId,
  name,
  content,
  isError,
});

export const ask = (more: Partial<ProviderRequest> = {}): ProviderRequest => ({
  model: 'scripted-1',
  system: '',
  messages: [user('Hi')],
  tools: [],
  parameters: {},
  outputTokensMax: null,
  ...more,
});

export const never = (): AbortSignal => new AbortController().signal;

/** All events of an answer. */
export async function collect(
  provider: Provider,
  request: ProviderRequest,
  signal: AbortSignal = never(),
): Promise<ProviderEvent[]> {
  const events: ProviderEvent[] = [];
  for await (const event of provider.stream(request, { signal })) events.push(event);
  return events;
}

export const textOf = (events: ProviderEvent[]): string =>
  events.map((event) => (event.type === 'text' ? event.text : '')).join('');

export const callsOf = (events: ProviderEvent[]): ToolCall[] =>
  events.flatMap((event) => (event.type === 'tool_call' ? [event.call] : []));

export const lastUsage = (events: ProviderEvent[]) =>
  events.findLast((event) => event.type === 'usage')?.usage;

export const endOf = (events: ProviderEvent[]) => events.findLast((event) => event.type === 'end');

/** What an answer throws; an answer that throws nothing fails the test. */
export async function failure(
  provider: Provider,
  request: ProviderRequest = ask(),
  signal: AbortSignal = never(),
): Promise<unknown> {
  try {
    await collect(provider, request, signal);
  } catch (error) {
    return error;
  }
  throw new Error('The provider was expected to fail.');
}

export async function fault(provider: Provider, request: ProviderRequest = ask()): Promise<Fault> {
  const error = await failure(provider, request);
  if (error instanceof Fault) return error;
  throw error;
}

/** Everything that a log might print of an error. */
export const printed = (error: unknown): string =>
  inspect(error, { depth: 20, showHidden: true }) + (error instanceof Error ? String(error.stack) : '');
