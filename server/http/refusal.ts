import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { isReceivingFile } from './files.ts';
import { requestIdOf } from './request-id.ts';
import type { Unanswered } from './unanswered.ts';

// What is refused before the app hears of it.

interface Refusal {
  status: number;
  reason: string;
  code: string;
  detail: string;
}

/** What node's parser can refuse a request for, before there is one. */
const PARSE_FAULTS: Record<string, Refusal> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    reason: 'Request Header Fields Too Large',
    code: 'headers_too_large',
    detail: 'The request headers are too large.',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    reason: 'Request Timeout',
    code: 'request_timeout',
    detail: 'The request took too long to arrive.',
  },
};
const MALFORMED: Refusal = {
  status: 400,
  reason: 'Bad Request',
  code: 'malformed_request',
  detail: 'This is not a well-formed HTTP request.',
};
const NO_PROXY: Refusal = {
  status: 405,
  reason: 'Method Not Allowed',
  code: 'method_not_allowed',
  detail: 'This server is no proxy.',
};

const bodyOf = ({ status, reason, detail, code }: Refusal, requestId: string): string =>
  JSON.stringify({
    type: `urn:nimblesite:problem:${code}`,
    title: reason,
    status,
    detail,
    code,
    request_id: requestId,
  });

const headersOf = (requestId: string, body: string): Record<string, string | number> => ({
  'X-Request-Id': requestId,
  'Content-Type': 'application/problem+json',
  'Content-Length': Buffer.byteLength(body),
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  Connection: 'close',
});

/** After our last word, a client that does not close is cut off: node no longer times this connection out. */
const LINGER_MS = 1000;

/** Writes an answer where there is no response to write it with, and ends the connection. */
function endWith(socket: Duplex, refusal: Refusal, requestId: string, allow?: string): void {
  const body = bodyOf(refusal, requestId);
  const headers = { ...headersOf(requestId, body), ...(allow !== undefined && { Allow: allow }) };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  socket.end(`HTTP/1.1 ${refusal.status} ${refusal.reason}\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

/** The response that the connection is at. */
const currentOf = (socket: Duplex): ServerResponse | null => Reflect.get(socket, '_httpMessage') ?? null;

/** Refuses what came last on a connection, once the requests before it have their answers. */
function refuseLast(refusal: Refusal, socket: Duplex, ids: IdMaker, unanswered: Unanswered): void {
  const current = currentOf(socket);
  const last = unanswered.lastOf(socket);
  if (last?.req.complete) {
    // What cannot be read came behind requests that could.
    last.shouldKeepAlive = false;
    last.once('finish', () => socket.end());
  } else if (current && current !== last) {
    // It is the body of a request that waits behind others.
    current.once('finish', () => {
      if (socket.writable) refuseLast(refusal, socket, ids, unanswered);
    });
  } else if (current?.headersSent) {
    // An answer that is under way must not get another one into its middle.
    socket.destroy();
  } else {
    endWith(socket, refusal, current ? requestIdOf(current.req, ids) : ids());
  }
}

/** Connections of which the last answer is under way. */
const ending = new WeakSet<Duplex>();

/** Answers what node's parser could not read. To be told of every `clientError`. */
export function refuseUnreadable(
  error: NodeJS.ErrnoException,
  socket: Duplex,
  ids: IdMaker,
  unanswered: Unanswered,
): void {
  // A large file over a slow line takes longer than any other request may; who stalls is cut off elsewhere.
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && isReceivingFile(socket)) return;
  const hasLeft = currentOf(socket) !== null && socket.readableEnded;
  if (error.code === 'ECONNRESET' || !socket.writable || hasLeft) {
    socket.destroy();
  } else if (!ending.has(socket)) {
    ending.add(socket);
    refuseLast(PARSE_FAULTS[error.code ?? ''] ?? MALFORMED, socket, ids, unanswered);
  }
}

/** Answers a request for a tunnel, unless it came behind one that has no answer yet. */
export function refuseTunnel(request: IncomingMessage, socket: Duplex, ids: IdMaker): void {
  socket.on('error', () => socket.destroy());
  if (currentOf(socket) !== null) {
    // Ours would be taken for the answer that is due, and node neither reads nor drains this connection any more.
    socket.destroy();
    return;
  }
  endWith(socket, NO_PROXY, requestIdOf(request, ids), 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT');
}

/** Whether HTTP allows what node's parser lets pass. */
function isWellFormed({ url = '', headers, httpVersion }: IncomingMessage): boolean {
  if (headers.host === undefined && httpVersion !== '1.0') return false;
  // An absolute address is parsed again by libraries that throw where it is no URL.
  return url.startsWith('/') || url === '*' || URL.canParse(url);
}

/** Answers a request that is malformed, and tells whether it was. */
export function refuseMalformed(request: IncomingMessage, response: ServerResponse, ids: IdMaker): boolean {
  if (isWellFormed(request)) return false;
  const requestId = requestIdOf(request, ids);
  const body = bodyOf(MALFORMED, requestId);
  response.writeHead(MALFORMED.status, headersOf(requestId, body)).end(body);
  return true;
}
