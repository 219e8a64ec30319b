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
  /** Called with every answer that is none of success. */
  onError(error: ApiError): void;
}

export function createApi({ csrfToken, onError }: ApiOptions): Api {
  // Reads have it too: another one may be signed in by now, in another window, whose data is not for this page.
  const sessionHeaders = (): Record<string, string> => {
    const token = csrfToken();
    return token === null ? {} : { 'X-CSRF-Token': token };
  };

  const send: Api['send'] = async (input, init) => {
    const request = new Request(input, { credentials: 'same-origin', ...init });
    for (const [name, value] of Object.entries(sessionHeaders())) request.headers.set(name, value);
    const response = await fetch(request).catch((error: unknown) => {
      // Who ended the request knows why; that is no fault of the server.
      if (request.signal.aborted) throw error;
      throw unreachable();
    });
    if (response.ok) return response;
    const error = await errorOf(response);
    onError(error);
    throw error;
  };

  return {
    client: createClient<paths>({ baseUrl: location.origin, fetch: send }),
    send,
    upload: (path, file, onProgress, signal) =>
      upload(path, file, { headers: sessionHeaders(), onProgress, signal }).catch((error: unknown) => {
        if (error instanceof ApiError) onError(error);
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
