import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import type { RequestState } from './state.ts';

/** What node's parser can refuse a request for, before there is one. */
const PARSE_FAULTS: Record<string, { status: number; reason: string; code: string; detail: string }> = {
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
const MALFORMED = {
  status: 400,
  reason: 'Bad Request',
  code: 'malformed_request',
  detail: 'This is not a well-formed HTTP request.',
};

function refuse(error: NodeJS.ErrnoException, socket: Duplex, ids: IdMaker): void {
  // An answer that is under way must not get another one into its middle.
  if (error.code === 'ECONNRESET' || !socket.writable || Reflect.get(socket, '_httpMessage')) {
    socket.destroy();
    return;
  }
  const { status, reason, code, detail } = PARSE_FAULTS[error.code ?? ''] ?? MALFORMED;
  const requestId = ids();
  const type = `urn:nimblesite:problem:${code}`;
  const body = JSON.stringify({ type, title: reason, status, detail, code, request_id: requestId });
  const head = [
    `HTTP/1.1 ${status} ${reason}`,
    `X-Request-Id: ${requestId}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

export interface Listener {
  server: Server;
  /** Resolves when every request that has begun is answered, or its client has gone. */
  answered(): Promise<void>;
}

/** An HTTP server for the app, with bounds for clients that send slowly. Does not listen yet. */
export function createListener(app: Koa<RequestState>, ids: IdMaker): Listener {
  const handle = app.callback();
  const server = createServer({
    headersTimeout: 20_000,
    requestTimeout: 120_000,
    connectionsCheckingInterval: 5_000,
    // Longer than the usual 60 s of a load balancer, which must be the one that closes first.
    keepAliveTimeout: 65_000,
    maxHeaderSize: 16_384,
  });

  const unanswered = new Set<ServerResponse>();
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    unanswered.add(response);
    response.once('close', () => {
      unanswered.delete(response);
      // `server.close` ends the connections that are idle at that moment; the others end here.
      if (!server.listening) request.socket.end();
    });
    void handle(request, response);
  };
  server.on('request', onRequest);
  // With a handler of our own, the body reader asks for the body once it is wanted.
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', onRequest);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket, ids));

  return {
    server,
    async answered() {
      while (unanswered.size > 0)
        await Promise.all([...unanswered].map((response) => once(response, 'close')));
    },
  };
}
