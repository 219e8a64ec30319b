import { Agent } from 'undici';
import { type AnswerHeaders, Exchange } from './exchange.ts';

/** What is posted. */
export interface Post {
  url: string;
  /** All that are sent, beside those of the connection. */
  headers: Record<string, string>;
  body: string;
  /** Ends the call at once when aborted: whatever is waited for rejects with its reason. */
  signal: AbortSignal | null;
}

export interface Transport {
  /**
   * Resolves with the answer's head, whatever its status; what comes after that of a proper answer is read with
   * `exchangeOf`. @throws what kept it from coming
   */
  post(post: Post): Promise<Response>;
  /** Ends every connection, those in use too. */
  close(): Promise<void>;
}

export interface TransportOptions {
  connectTimeoutMs: number;
  /** The longest silence before the answer's head and between two pieces of its body. */
  idleTimeoutMs: number;
}

/** How much of an error's body is read: enough for any provider's words, too little to be a burden. */
const ERROR_BODY_BYTES_MAX = 64 * 1024;

/** The SDKs wait as long as a provider asks, an hour if need be; past this a client is told so instead. */
const RETRY_AFTER_MS_MAX = 30_000;

/**
 * How long a connection is kept for the next call. Providers that close earlier say so in `Keep-Alive`, which
 * undici obeys.
 */
const KEEP_ALIVE_MS = 30_000;

/**
 * One pool of kept-alive connections for all providers. Redirects are not followed (a redirect would carry
 * the key elsewhere) and nothing compressed is asked for.
 *
 * It is undici's dispatcher that is asked: Node's own `fetch` costs many times as much per call.
 */
export function createTransport(options: TransportOptions): Transport {
  const agent = new Agent({
    connect: { timeout: options.connectTimeoutMs },
    headersTimeout: options.idleTimeoutMs,
    bodyTimeout: options.idleTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
  });
  return {
    async post({ url, headers, body, signal }) {
      const { origin, pathname, search } = new URL(url);
      const exchange = await new Promise<Exchange>((resolve, reject) => {
        const call = { origin, path: pathname + search, method: 'POST', headers, body } as const;
        agent.dispatch(call, new Exchange(signal, resolve, reject));
      });
      return exchange.status < 300 ? asResponse(new StreamedAnswer(exchange)) : failure(exchange);
    },
    close: () => agent.destroy(),
  };
}

/** All that the SDKs look at of an answer which is not an error. */
type Seen = Pick<Response, 'status' | 'ok' | 'headers' | 'url' | 'body'>;

/**
 * An answer as the SDKs hand it back untouched. A real `Response` around a web stream costs more than the rest of a
 * call; and of the headers of a proper answer the SDKs only write one into a line of their log, which is off.
 */
class StreamedAnswer implements Seen {
  static readonly #noHeaders = new Headers();
  readonly ok = true;
  readonly url = '';
  readonly body = null;
  readonly status: number;
  readonly headers = StreamedAnswer.#noHeaders;
  readonly exchange: Exchange;

  constructor(exchange: Exchange) {
    this.status = exchange.status;
    this.exchange = exchange;
  }
}

const asResponse = (answer: Seen): Response => answer as Response;

/** The answer to read from what an SDK gave back. */
export function exchangeOf(response: Response): Exchange {
  const seen: Seen = response;
  if (seen instanceof StreamedAnswer) return seen.exchange;
  throw new TypeError('The answer was not brought by the transport.');
}

/** Reads the body of an error at once: the SDKs drop it unread when they try again, which would keep its connection. */
async function failure(exchange: Exchange): Promise<Response> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  while (bytes < ERROR_BODY_BYTES_MAX) {
    const piece = await exchange.read();
    if (piece === null) break;
    pieces.push(piece);
    bytes += piece.length;
  }
  exchange.cancel();
  const { status } = exchange;
  const headers = plainHeaders(exchange.headers);
  const waitMs = retryAfterMs(headers);
  if (waitMs !== null && waitMs > RETRY_AFTER_MS_MAX) headers.set('x-should-retry', 'false');
  const empty = bytes === 0 || status === 304;
  return new Response(empty ? null : Buffer.concat(pieces, bytes), { status, headers });
}

function plainHeaders(given: AnswerHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  return headers;
}

/**
 * How long a provider asks to be left alone, or null where it does not say. A date is compared with the
 * provider's own clock, as its `Date` header shows it.
 */
export function retryAfterMs(headers: Headers): number | null {
  const exact = Number(headers.get('retry-after-ms') ?? Number.NaN);
  if (Number.isFinite(exact)) return Math.max(exact, 0);
  const text = headers.get('retry-after');
  if (text === null) return null;
  const seconds = Number(text);
  const ms = Number.isFinite(seconds)
    ? seconds * 1000
    : Date.parse(text) - Date.parse(headers.get('date') ?? '');
  return Number.isFinite(ms) ? Math.max(ms, 0) : null;
}
