import type { Transport } from './transport.ts';

/** A `fetch` as an SDK wants to be given one. */
type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** A call as an adapter makes it: of its headers, those that differ from call to call, in lower case. */
interface Call {
  method: 'post';
  path: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | null | undefined;
}

/** What is replaced of an SDK's client; both have the same. */
interface SdkClient {
  fetchWithTimeout(
    url: string,
    request: RequestInit,
    ms: number,
    controller: AbortController,
  ): Promise<Response>;
  buildRequest(call: Call): Promise<{
    req: RequestInit & { headers: Headers };
    url: string;
    timeout: number;
  }>;
}

/**
 * What every wire format needs beside a key. The SDKs would send more, about the machine and, from environment variables,
 * what is meant for one provider only.
 */
const HEADERS_SENT = ['accept', 'content-type', 'user-agent', 'anthropic-version'];

/**
 * Makes a client of an SDK that calls one path, over the transport, with no more per call than its retries:
 *
 * - Of a request the SDK builds all anew each time, its headers three times over, which is a fifth of all that a turn
 *   allocates. Here it builds one, and a call adds its key and its body.
 * - It would give each attempt a timer and a signal. The transport has limits of its own, with kinder causes, whoever asks
 *   has one for the whole, and the signal of the call is enough.
 */
export function overTransport<Client extends SdkClient>(
  transport: Transport,
  path: string,
  make: (fetch: Fetch) => Client,
): Client {
  const fetch: Fetch = async (input, { headers, body, signal = null } = {}) => {
    if (typeof body !== 'string') throw new TypeError('The transport sends JSON text only.');
    // As `buildRequest` has left them, whatever the SDK takes them for.
    const sent = headers as Record<string, string>;
    return transport.post({ url: String(input), headers: sent, body, signal });
  };
  const client = make(fetch);
  client.fetchWithTimeout = fetch;

  const build = client.buildRequest.bind(client);
  const buildFixed = async () => {
    const { req, url, timeout } = await build({ method: 'post', path, body: {} });
    const headers = HEADERS_SENT.flatMap((name) => {
      const value = req.headers.get(name);
      return value === null ? [] : [[name, value]];
    });
    return { url, timeout, headers: Object.fromEntries(headers) as Record<string, string> };
  };
  let fixed: ReturnType<typeof buildFixed> | null = null;
  client.buildRequest = async ({ body, headers, signal = null }) => {
    fixed ??= buildFixed();
    const { url, timeout, headers: common } = await fixed;
    const sent = { ...common, ...headers };
    const req = { method: 'post', headers: sent as unknown as Headers, body: JSON.stringify(body), signal };
    return { req, url, timeout };
  };
  return client;
}
