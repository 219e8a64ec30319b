import { expect } from 'chai';
import { type Download, type Json, request } from '../support/http.ts';

export const ADMIN_TOKEN = 'crash-test-admin-token';

/** Answers whose server died on the way are null. */
export type Send = (path: string, init?: RequestInit) => Promise<Download | null>;

export const asAdmin = (init: RequestInit = {}): RequestInit => ({
  ...init,
  headers: { Authorization: `Bearer ${ADMIN_TOKEN}`, 'Content-Type': 'application/json', ...init.headers },
});

export const post = (body: Json = {}): RequestInit => asAdmin({ method: 'POST', body: JSON.stringify(body) });

/** A request to a server that is killed meanwhile. */
export const sender =
  (url: string): Send =>
  (path, init = asAdmin()) =>
    request(url + path, init).catch((error: unknown) => {
      // What `fetch` says of a connection that breaks; everything else is a failure of the test.
      if (error instanceof TypeError) return null;
      throw error;
    });

export const pathOf = ({ id }: { id: string }, rest = ''): string => `/api/v1/admin/tenants/${id}${rest}`;

/** A tenant's own call. */
export const asTenant = (apiKey: string, body?: Json): RequestInit => ({
  headers: { 'X-API-Key': apiKey, 'Content-Type': 'application/json' },
  ...(body && { method: 'POST', body: JSON.stringify(body) }),
});

/** An answer that a running server owes. */
export function answered(reply: Download | null, status = 200): Download {
  expect(reply?.status, reply?.text).to.equal(status);
  if (reply === null) throw new Error('There is no answer.');
  return reply;
}
