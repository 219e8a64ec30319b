import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { isReceivingFile } from './files.ts';
import { problemOf } from './problem.ts';
import { CHALLENGE_HEADER, PROOF_HEADER } from './proof.ts';
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
  // A large file over a slow line takes longer than any other request may; who stalls is cut off elsewhere.
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && isReceivingFile(socket)) return;
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

export interface Elsewhere {
  isFor(request: IncomingMessage): boolean;
  answer: RequestListener;
}

export interface Listener {
  server: Server;
  /**
   * Hands requests to the app from now on. Those before are told that the server starts.
   * @param elsewhere answers requests of the paths that are not for this process
   */
  serve(app: Koa<RequestState>, elsewhere?: Elsewhere): void;
  /** Lets every connection end with the answer that it waits for. */
  endConnections(): void;
  /** Resolves when every request that has begun is answered, or its client has gone. */
  answered(): Promise<void>;
}

/** What is answered before there is an app: alive, but not ready. */
function answerStarting(request: IncomingMessage, response: ServerResponse, ids: IdMaker): void {
  const requestId = ids();
  const alive = request.url === '/healthz';
  const body = alive
    ? { status: 'ok' }
    : problemOf(new Fault('overloaded', 'The server is starting.'), requestId);
  response.writeHead(alive ? 200 : 503, {
    'X-Request-Id': requestId,
    'Content-Type': alive ? 'application/json' : 'application/problem+json',
    'Retry-After': '1',
    Connection: 'close',
  });
  response.end(JSON.stringify(body));
}

const TIME_LIMITS = {
  headersTimeout: 20_000,
  requestTimeout: 120_000,
  connectionsCheckingInterval: 5_000,
};

/**
 * An HTTP server with bounds for clients that send slowly. Does not listen yet.
 * @param prove answers a challenge so that the client knows whose server this is
 * @param timeLimits in milliseconds, as node's `createServer` has them
 */
export function createListener(
  ids: IdMaker,
  prove: (challenge: string) => string,
  timeLimits = TIME_LIMITS,
): Listener {
  let handle: RequestListener = (request, response) => answerStarting(request, response, ids);
  let ending = false;
  const server = createServer({
    ...timeLimits,
    // Longer than the usual 60 s of a load balancer, which must be the one that closes first.
    keepAliveTimeout: 65_000,
    maxHeaderSize: 16_384,
  });

  const unanswered = new Set<ServerResponse>();
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    unanswered.add(response);
    const challenge = request.headers[CHALLENGE_HEADER];
    if (request.url === '/healthz' && typeof challenge === 'string') {
      response.setHeader(PROOF_HEADER, prove(challenge));
    }
    if (ending) response.shouldKeepAlive = false;
    response.once('close', () => unanswered.delete(response));
    void handle(request, response);
  };
  server.on('request', onRequest);
  // With a handler of our own, the body reader asks for the body once it is wanted.
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', onRequest);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket, ids));

  return {
    server,
    serve(app, elsewhere) {
      const here = app.callback();
      handle = elsewhere
        ? (request, response) => (elsewhere.isFor(request) ? elsewhere.answer : here)(request, response)
        : here;
    },
    endConnections() {
      ending = true;
      // Says `Connection: close` where the head of the answer has not gone yet.
      for (const response of unanswered) response.shouldKeepAlive = false;
    },
    async answered() {
      while (unanswered.size > 0)
        await Promise.all([...unanswered].map((response) => once(response, 'close')));
    },
  };
}
