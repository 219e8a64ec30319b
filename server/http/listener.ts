import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type Koa from 'koa';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { problemOf } from './problem.ts';
import { CHALLENGE_HEADER, PROOF_HEADER } from './proof.ts';
import { refuseMalformed, refuseTunnel, refuseUnreadable } from './refusal.ts';
import { requestIdOf } from './request-id.ts';
import type { RequestState } from './state.ts';
import { createUnanswered } from './unanswered.ts';

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
  const requestId = requestIdOf(request, ids);
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
    // Refused here, in the form of every other refusal.
    requireHostHeader: false,
  });

  const unanswered = createUnanswered();
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    unanswered.add(response);
    const challenge = request.headers[CHALLENGE_HEADER];
    if (request.url === '/healthz' && typeof challenge === 'string') {
      response.setHeader(PROOF_HEADER, prove(challenge));
    }
    if (ending) response.shouldKeepAlive = false;
    if (refuseMalformed(request, response, ids)) return;
    void handle(request, response);
  };
  server.on('connection', unanswered.watch);
  server.on('request', onRequest);
  // With a handler of our own, the body reader asks for the body once it is wanted.
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', onRequest);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) =>
    refuseUnreadable(error, socket, ids, unanswered),
  );
  server.on('connect', (request: IncomingMessage, socket) => refuseTunnel(request, socket, ids));

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
      for (const response of unanswered.lasts()) response.shouldKeepAlive = false;
    },
    async answered() {
      for (let lasts = unanswered.lasts(); lasts.length > 0; lasts = unanswered.lasts())
        await Promise.all(lasts.map((response) => once(response, 'close')));
    },
  };
}
