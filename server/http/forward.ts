import { Agent, request as ask, type IncomingMessage, type Server } from 'node:http';
import { createServer as createNetServer, type Server as NetServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { markReceiving } from './files.ts';
import type { Elsewhere } from './listener.ts';
import { problemOf } from './problem.ts';
import { requestIdOf } from './request-id.ts';

// How a request that comes to a worker gets to the first process: byte for byte, over a socket in the data folder.

/** Whose request it is; believed where a worker says it. */
const ADDRESS_HEADER = 'x-nimblesite-client-address';
/** What is said of one connection, and not of the request. */
const HOP_BY_HOP = ['connection', 'keep-alive', 'proxy-connection', 'upgrade', ADDRESS_HEADER];
/** Marks the connections that come from workers. */
const FROM_WORKER = Symbol('from a worker');

/** The address of the client, also where a worker has passed on what it asks. */
export function clientAddress({ socket, headers }: IncomingMessage): string {
  const told = Reflect.get(socket, FROM_WORKER) === true ? headers[ADDRESS_HEADER] : undefined;
  return typeof told === 'string' ? told : (socket.remoteAddress ?? '');
}

/** `http.Server` without a port of its own: connections are put into it. */
export function servesGivenConnections(http: Server): (socket: Socket) => void {
  // What a port would have started: slow clients are looked for.
  http.emit('listening');
  return (socket) => {
    // A client that has said all still waits for the answer.
    socket.allowHalfOpen = true;
    http.emit('connection', socket);
    socket.resume();
  };
}

/** Takes what workers pass on. To be told to listen on a path that only the server's own user reaches. */
export const createWorkersDoor = (take: (socket: Socket) => void): NetServer =>
  createNetServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    Reflect.set(socket, FROM_WORKER, true);
    take(socket);
  });

/** The server's port, whose connections go to whoever serves them: `handOff` says whether somebody else does. */
export const createDoor = (take: (socket: Socket) => void, handOff: (socket: Socket) => boolean): NetServer =>
  createNetServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    if (!handOff(socket)) take(socket);
  });

const kept = (rawHeaders: readonly string[]): string[] => {
  const headers: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2);
    if (!HOP_BY_HOP.includes(name.toLowerCase())) headers.push(name, value);
  }
  return headers;
};

/** What a worker does with a request that is none of these endpoints'. @param socketPath where the first process takes it */
export function createForward(endpoints: readonly Endpoint[], socketPath: string, ids: IdMaker): Elsewhere {
  const own = endpoints.map(({ path }) => new RegExp(`^${path.replace(/:\w+/g, '[^/]+')}/?$`));
  const agent = new Agent({ keepAlive: true });
  return {
    isFor: ({ url = '' }) => {
      const path = url.split('?', 1)[0] ?? '';
      return !own.some((pattern) => pattern.test(path));
    },

    answer(request, response) {
      // The first process says how long a body may take.
      markReceiving(response);
      const onward = ask({
        socketPath,
        agent,
        method: request.method,
        path: request.url,
        headers: [
          ...kept(request.rawHeaders),
          // HTTP/1.0 may leave it out; what goes on is HTTP/1.1, which says then that there is none.
          ...(request.headers.host === undefined ? ['Host', ''] : []),
          ADDRESS_HEADER,
          request.socket.remoteAddress ?? '',
        ],
      });
      onward.on('continue', () => response.writeContinue());
      onward.on('response', (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', kept(answer.rawHeaders));
        response.flushHeaders();
        // What breaks off there breaks off here.
        pipeline(answer, response, () => {});
      });
      const leave = (): void => {
        // The rest of a body is dropped, so that its client gets to see the answer.
        request.unpipe(onward);
        request.resume();
        if (response.headersSent) return;
        const requestId = requestIdOf(request, ids);
        const unreachable = new Fault('overloaded', 'The server is not ready.', {
          details: { retryAfterSeconds: 1 },
        });
        response.writeHead(503, {
          'X-Request-Id': requestId,
          'Content-Type': 'application/problem+json',
          'Retry-After': '1',
        });
        response.end(JSON.stringify(problemOf(unreachable, requestId)));
      };
      onward.on('error', leave);
      response.once('close', () => {
        if (!response.writableFinished) onward.destroy();
      });
      onward.flushHeaders();
      request.pipe(onward);
    },
  };
}
