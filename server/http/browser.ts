import type { IncomingMessage } from 'node:http';
import { type BrowserCall, CSRF_HEADER, SESSION_COOKIE } from '../endpoints/browser.ts';
import { clientAddress } from './forward.ts';

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

const headerOf = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
};

/** What a browser says of this request, as far as it is one. */
export function browserOf(request: IncomingMessage): BrowserCall {
  return {
    address: clientAddress(request),
    isSafe: SAFE.has(request.method ?? ''),
    isSameOrigin: isSameOrigin(request),
    isEncrypted: isEncrypted(request),
    sessionText: sessionTextOf(request),
    csrfToken: headerOf(request, CSRF_HEADER.toLowerCase()),
  };
}

/**
 * The text of the session in the cookie. With several of the name, none: a neighbour on another port or subdomain may
 * have set one, and whose it is cannot be told.
 */
function sessionTextOf(request: IncomingMessage): string | undefined {
  const texts = (request.headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${SESSION_COOKIE}=`))
    .map((pair) => pair.slice(SESSION_COOKIE.length + 1));
  return texts.length === 1 ? texts[0] : undefined;
}

/**
 * By the browser's own word, which no page can change and no proxy does; where it says nothing (to plain http on
 * another machine, and very old ones) by the host that the page came from.
 */
function isSameOrigin(request: IncomingMessage): boolean {
  const site = headerOf(request, 'sec-fetch-site');
  if (site !== undefined)
    return site === 'same-origin' || (site === 'none' && SAFE.has(request.method ?? ''));
  const origin = headerOf(request, 'origin');
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const { protocol, host } = new URL(origin);
  const own = `${protocol}//${request.headers.host ?? ''}`;
  return URL.canParse(own) && new URL(own).host === host;
}

/** Who claims https without it only keeps the cookie from itself. */
const isEncrypted = (request: IncomingMessage): boolean =>
  /^https\b/i.test(headerOf(request, 'x-forwarded-proto') ?? '') ||
  /^https:/i.test(headerOf(request, 'origin') ?? '');
