import { createHmac, timingSafeEqual } from 'node:crypto';
import { Fault } from '../../tenant-schema/fault.ts';

/** What a browser says of a request beside what is asked. */
export interface BrowserCall {
  /** Where the connection comes from. */
  address: string;
  /** Whether the request only reads. */
  isSafe: boolean;
  /** Whether it comes from a page of this server, or from somebody who typed the address. */
  isSameOrigin: boolean;
  /** Whether the browser speaks TLS, to a proxy before this server. */
  isEncrypted: boolean;
  /** The session's text in the cookie. */
  sessionText: string | undefined;
  /** The `X-CSRF-Token` header. */
  csrfToken: string | undefined;
}

export const SESSION_COOKIE = 'nimblesite_session';
export const CSRF_HEADER = 'X-CSRF-Token';

/**
 * The token that requests of a session's page carry beside its cookie. Made from the session's text, so that it is kept
 * nowhere, and who does not have the cookie cannot have it.
 */
export const csrfTokenOf = (sessionText: string): string =>
  createHmac('sha256', sessionText).update('csrf').digest('base64url');

const failed = (message: string): Fault => new Fault('csrf_failed', message);

/** @throws `csrf_failed` where another site's page has sent the request */
export function requireSameOrigin({ isSameOrigin }: BrowserCall): void {
  if (!isSameOrigin) throw failed('A session works on pages of this server only.');
}

/** @throws `csrf_failed` where it is not certain that a page of this server has sent the request */
export function requireOwnPage(browser: BrowserCall, sessionText: string): void {
  requireSameOrigin(browser);
  // A read need not carry it, since a link cannot. One that does comes from the page of that session alone: in the place
  // of it, somebody else may have signed in in another window.
  if (browser.isSafe && browser.csrfToken === undefined) return;
  const given = Buffer.from(browser.csrfToken ?? '');
  const expected = Buffer.from(csrfTokenOf(sessionText));
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw failed(`The header ${CSRF_HEADER} must be the "csrf_token" of the session.`);
  }
}

/**
 * The `Set-Cookie` of a session; of one that has ended, which removes it, without a text. It ends with the browser.
 *
 * `Secure` wherever the browser came by https. Not otherwise: a browser drops such a cookie of a page that came by
 * http, except from its own machine, so that nobody could sign in, while the token has gone the same way in the clear.
 */
export const sessionCookie = (text: string | null, { isEncrypted }: BrowserCall): string =>
  [
    `${SESSION_COOKIE}=${text ?? ''}`,
    'Path=/',
    'HttpOnly',
    'SameSite=Strict',
    ...(isEncrypted ? ['Secure'] : []),
    ...(text === null ? ['Max-Age=0'] : []),
  ].join('; ');
