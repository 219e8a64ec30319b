import { expect } from 'chai';
import { type Json, type Reply, request } from './http.ts';

export interface Browser {
  /** The whole of the last `Set-Cookie`. */
  setCookie: string;
  /** What it sends as `Cookie`; empty where it has none. */
  cookie: string;
  csrfToken: string;
  /** Signs in and remembers what it gets. */
  signIn(credentials: Json, headers?: Record<string, string>): Promise<Reply>;
  /** As a page of the server does: with the cookie, and the token where it is no GET. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>;
}

/** A browser that nobody is signed in to yet. */
export function createBrowser(url: string): Browser {
  const browser: Browser = {
    setCookie: '',
    cookie: '',
    csrfToken: '',
    async signIn(credentials, headers = {}) {
      const reply = await browser.call('POST', '/console/session', credentials, headers);
      if (reply.status === 201) browser.csrfToken = String(reply.body.csrf_token);
      return reply;
    },
    async call(method, path, body, headers = {}) {
      const reply = await request(`${url}${path}`, {
        method,
        headers: {
          ...(browser.cookie !== '' && { Cookie: browser.cookie }),
          ...(method !== 'GET' && browser.csrfToken !== '' && { 'X-CSRF-Token': browser.csrfToken }),
          ...(body !== undefined && { 'Content-Type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const cookies = reply.headers.getSetCookie();
      expect(cookies.length).to.be.lessThan(2);
      const [setCookie] = cookies;
      if (setCookie !== undefined) {
        browser.setCookie = setCookie;
        const [pair = ''] = setCookie.split(';');
        browser.cookie = pair.endsWith('=') ? '' : pair;
      }
      return reply;
    },
  };
  return browser;
}

/** A browser in which somebody is signed in. */
export async function signedIn(url: string, credentials: Json): Promise<Browser> {
  const browser = createBrowser(url);
  const { status, text } = await browser.signIn(credentials);
  expect(status, text).to.equal(201);
  return browser;
}
