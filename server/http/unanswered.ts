import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** The responses that are not sent yet: of a connection, in the order of its requests. */
export interface Unanswered {
  /** Of every connection, from its first byte on. */
  watch(socket: Duplex): void;
  add(response: ServerResponse): void;
  /** The last answer that the connection waits for. */
  lastOf(socket: Duplex): ServerResponse | undefined;
  /** The same of every connection that waits for one. */
  lasts(): ServerResponse[];
}

/**
 * Node says `close` of the response that a connection is at when it ends, but not of those that wait behind it: whoever
 * makes them would never hear that nobody waits any more.
 */
function closeWaiting(response: ServerResponse): void {
  response.destroy();
  Reflect.set(response, '_closed', true);
  response.emit('close');
}

export function createUnanswered(): Unanswered {
  const connections = new Map<Duplex, Set<ServerResponse>>();
  const lastOf = (socket: Duplex): ServerResponse | undefined => [...(connections.get(socket) ?? [])].at(-1);
  return {
    watch(socket) {
      const waiting = new Set<ServerResponse>();
      connections.set(socket, waiting);
      socket.once('close', () => {
        connections.delete(socket);
        for (const response of waiting) if (response.socket === null) closeWaiting(response);
      });
    },
    add(response) {
      const waiting = connections.get(response.req.socket);
      waiting?.add(response);
      response.once('close', () => waiting?.delete(response));
    },
    lastOf,
    lasts: () => [...connections.keys()].flatMap((socket) => lastOf(socket) ?? []),
  };
}
