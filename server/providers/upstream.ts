import type { ToolCall } from '../../tenant-schema/store.ts';
import { type Endpoint, invalidAnswer, upstreamFault } from './errors.ts';
import { EventReader, type ServerEvent } from './event-reader.ts';
import { parseObject } from './json.ts';
import type { FinishReason, Provider } from './provider.ts';
import { exchangeOf, type Transport } from './transport.ts';

/** What an adapter needs to know of its provider. */
export interface AdapterOptions {
  name: string;
  /** As the SDK of the wire format wants it. */
  baseUrl: string;
  /** How often a failed attempt is repeated before the answer has begun. */
  retries: number;
  transport: Transport;
}

/**
 * Speaks with a provider for whoever's key is given. A client of an SDK costs about as much as a call, and a provider has
 * one for all: the key goes with each call and is kept by nobody.
 */
export type Adapter = (key: Pick<Endpoint, 'apiKey' | 'isOwnKey'>) => Provider;

/**
 * Starts a call and gives what its events say, as soon as they have come: those of one piece of the answer together, since
 * an array costs less than a step of an async iterator for each. The SDKs send the request, and again where
 * that is worth it, but the stream is read here: theirs has six layers of async iterators, and copies what is unread of
 * a stream at every event.
 *
 * Every error comes out as a `Fault`, but an abort as the signal's reason, at once. Leaving the loop early ends the call.
 * @param chunkOf what an event says, or null where that is nothing; whatever it throws means a broken answer, but an
 *   SDK's error what the provider reported
 */
export async function* chunksOf<Chunk>(
  start: () => PromiseLike<Response>,
  chunkOf: (event: ServerEvent) => Chunk | null,
  endpoint: Endpoint,
  signal: AbortSignal,
): AsyncGenerator<Chunk[], void, undefined> {
  signal.throwIfAborted();
  try {
    const exchange = exchangeOf(await untilAborted(start(), signal));
    try {
      const reader = new EventReader();
      for (let piece = await exchange.read(); piece !== null; piece = await exchange.read()) {
        const { chunks, failure } = chunksIn(reader.read(piece), chunkOf);
        if (chunks.length > 0) yield chunks;
        if (failure) throw failure.error;
      }
    } finally {
      exchange.cancel();
    }
  } catch (error) {
    signal.throwIfAborted();
    throw upstreamFault(error, endpoint);
  }
  signal.throwIfAborted();
}

/** What came before a fault counts, as if each had come by itself. */
function chunksIn<Chunk>(
  events: Iterable<ServerEvent>,
  chunkOf: (event: ServerEvent) => Chunk | null,
): { chunks: Chunk[]; failure: { error: unknown } | null } {
  const chunks: Chunk[] = [];
  try {
    for (const event of events) {
      const chunk = chunkOf(event);
      if (chunk !== null) chunks.push(chunk);
    }
  } catch (error) {
    return { chunks, failure: { error } };
  }
  return { chunks, failure: null };
}

/** The SDKs sleep between two attempts without a look at the signal; this does not wait for them. */
function untilAborted<T>(work: PromiseLike<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).then(() => signal.removeEventListener('abort', onAbort));
  });
}

/** A tool call while its pieces come in. */
export interface CallDraft {
  id: string;
  name: string;
  /** The arguments' text so far. */
  json: string;
}

/**
 * A byte limit for what an adapter keeps to itself while it comes in: arguments of tool calls and reasoning.
 * Whoever asks sees, and counts, the text alone.
 */
export const HIDDEN_BYTES_MAX = 16 * 1024 * 1024;

/** A count of hidden pieces. */
export interface HiddenCount {
  /** Of what is kept. @throws `upstream_invalid` beyond `HIDDEN_BYTES_MAX` in all. */
  add(...pieces: string[]): void;
  /** Of what is not kept, and so may be as long as it likes. */
  see(...pieces: string[]): void;
  /** The bytes of either that came since they were taken last. */
  take(): number;
}

export function createHiddenCount(endpoint: Endpoint): HiddenCount {
  let keptBytes = 0;
  let fresh = 0;
  const see = (...pieces: string[]): void => {
    for (const piece of pieces) fresh += Buffer.byteLength(piece);
  };
  return {
    see,
    add(...pieces) {
      const before = fresh;
      see(...pieces);
      keptBytes += fresh - before;
      if (keptBytes > HIDDEN_BYTES_MAX) {
        throw invalidAnswer(endpoint, `Reasoning and tool calls are longer than ${HIDDEN_BYTES_MAX} bytes.`);
      }
    },
    take() {
      const bytes = fresh;
      fresh = 0;
      return bytes;
    },
  };
}

/** Whether an answer that ended so was broken off by the provider. */
export const isCut = (finishReason: FinishReason): boolean =>
  finishReason === 'length' || finishReason === 'content_filter';

/**
 * The drafts' calls, in order. None of an answer that was cut: the last may be a torso, and a client that
 * reads `length` does not look for calls, which would stay open and block the conversation.
 * @throws `upstream_invalid` for a call without a name or whose arguments are not a JSON object.
 */
export function wholeCalls<Draft extends CallDraft>(
  drafts: Draft[],
  finishReason: FinishReason,
  endpoint: Endpoint,
): { call: ToolCall; draft: Draft }[] {
  const whole: { call: ToolCall; draft: Draft }[] = [];
  if (isCut(finishReason)) return whole;
  for (const draft of drafts) {
    if (draft.name === '') throw invalidAnswer(endpoint, 'A tool call has no name.');
    const text = draft.json.trim();
    const parsed = text === '' ? {} : parseObject(text);
    if (parsed === undefined) {
      throw invalidAnswer(endpoint, 'The arguments of a tool call are not a JSON object.');
    }
    whole.push({ call: { id: draft.id, name: draft.name, arguments: parsed }, draft });
  }
  return whole;
}

/** What the answer ended with, given whether it holds calls: some providers say `stop` all the same. */
export function settleFinish(finishReason: FinishReason, callCount: number): FinishReason {
  if (finishReason === 'stop' && callCount > 0) return 'tool_calls';
  return finishReason === 'tool_calls' && callCount === 0 ? 'stop' : finishReason;
}

/** No answer has so many tokens; sums of larger counts would not be exact. */
const COUNT_MAX = 1_000_000_000;

/** A count as a provider told it; 0 where it told none. */
export const countOf = (value: unknown): number =>
  typeof value === 'number' && value > 0 ? Math.min(Math.trunc(value), COUNT_MAX) : 0;
