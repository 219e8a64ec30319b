import createClient, { type Client } from 'openapi-fetch';
import { ApiError, errorOf, unreachable } from './problem.ts';
import type { components, paths } from './schema.gen.ts';
import { upload } from './upload.ts';

/** The API's schemas by name: `Schema<'Tenant'>`. */
export type Schema<Name extends keyof components['schemas']> = components['schemas'][Name];

/** The server as this page sees it. */
export interface Api {
  /** Typed calls; what they answer goes through `dataOf`. */
  readonly client: Client<paths>;
  /**
   * One request by cookie, for what `client` cannot do: streams and files.
   * @throws `ApiError` for every answer that is none of success, and for none at all.
   */
  send(input: string | Request, init?: RequestInit): Promise<Response>;
  /** Posts a file. @param onProgress gets how much of it has gone, from 0 to 1. @throws `ApiError` */
  upload(
    path: string,
    file: Blob,
    onProgress: (share: number) => void,
    signal: AbortSignal,
  ): Promise<unknown>;
}

export interface ApiOptions {
  /** Of the session; null where nobody is signed in. */
  csrfToken(): string | null;
  /** Called when the server no longer knows the session. */
  onUnauthorized(): void;
}

export function createApi({ csrfToken, onUnauthorized }: ApiOptions): Api {
  const writeHeaders = (): Record<string, string> => {
    const token = csrfToken();
    return token === null ? {} : { 'X-CSRF-Token': token };
  };

  const send: Api['send'] = async (input, init) => {
    const request = new Request(input, { credentials: 'same-origin', ...init });
    if (request.method !== 'GET') {
      for (const [name, value] of Object.entries(writeHeaders())) request.headers.set(name, value);
    }
    const response = await fetch(request).catch((error: unknown) => {
      // Who ended the request knows why; that is no fault of the server.
      if (request.signal.aborted) throw error;
      throw unreachable();
    });
    if (response.ok) return response;
    if (response.status === 401) onUnauthorized();
    throw await errorOf(response);
  };

  return {
    client: createClient<paths>({ baseUrl: location.origin, fetch: send }),
    send,
    upload: (path, file, onProgress, signal) =>
      upload(path, file, { headers: writeHeaders(), onProgress, signal }).catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 401) onUnauthorized();
        throw error;
      }),
  };
}

/** What a call answers; undefined where it answers nothing. @throws `ApiError` */
export async function dataOf<Data>(call: Promise<{ data?: Data }>): Promise<Data> {
  const { data } = await call;
  // `send` has thrown for what has no data but should.
  return data as Data;
}
