import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { Fault, type FaultCode, type FaultDetails } from '../../tenant-schema/fault.ts';

/** What one process asks another: for each question what is sent with it, and what is answered. */
export type Questions = Record<string, { sent: unknown; answered: unknown }>;

/** How a process answers each question. What is thrown is thrown at who has asked; a `Fault` as it is. */
export type Answers<Q extends Questions> = {
  [Name in keyof Q]: (sent: Q[Name]['sent']) => Promise<Q[Name]['answered']> | Q[Name]['answered'];
};

/** Two processes that ask each other. What one sends reaches the other in order. */
export interface Channel<Q extends Questions> {
  /**
   * @returns null where the other process ends first: it has nothing open any more and runs nothing
   */
  ask<Name extends keyof Q & string>(name: Name, sent: Q[Name]['sent']): Promise<Q[Name]['answered'] | null>;
  /** Gives it a connection; false where it cannot be given any more. */
  give(socket: Socket): boolean;
}

/** The other process, as node gives it: a child, or `process` where that is one. */
export interface Peer {
  connected: boolean;
  send?: ChildProcess['send'] | undefined;
  on(event: 'message', listener: (message: unknown, handle?: unknown) => void): unknown;
  once(event: 'disconnect' | 'exit', listener: () => void): unknown;
}

interface ToldFault {
  code: FaultCode | null;
  message: string;
  details?: FaultDetails;
}

type Message =
  | { question: number; name: string; sent: unknown }
  | { answer: number; answered: unknown }
  | { answer: number; fault: ToldFault }
  | { connection: number }
  | { taken: number };

const toldFault = (error: unknown): ToldFault =>
  error instanceof Fault
    ? { code: error.code, message: error.message, details: error.details }
    : { code: null, message: error instanceof Error ? error.message : String(error) };

const asError = ({ code, message, details = {} }: ToldFault): Error =>
  code === null ? new Error(message) : new Fault(code, message, { details });

/** @param onConnection takes the connections that the other process gives */
export function openChannel<Q extends Questions, Own extends Questions>(
  peer: Peer,
  answers: Answers<Own>,
  onConnection: (socket: Socket) => void = (socket) => socket.destroy(),
): Channel<Q> {
  const asked = new Map<number, { resolve(answered: unknown): void; reject(error: Error): void }>();
  let count = 0;
  let isOver = !peer.connected;

  /** Connections that wait to be taken, by their number. */
  const given = new Map<number, Socket>();
  let givenCount = 0;
  /** The other process has its own handle of it by now. */
  const letGo = (number: number): void => {
    given.get(number)?.destroy();
    given.delete(number);
  };

  const end = (): void => {
    isOver = true;
    for (const number of [...given.keys()]) letGo(number);
    for (const { resolve } of asked.values()) resolve(null);
    asked.clear();
  };
  peer.once('disconnect', end);
  peer.once('exit', end);

  /** What cannot be sent is to a process that ends, of which the events above tell. */
  const send = (message: Message): void => {
    if (!isOver) peer.send?.(message, () => {});
  };

  const answer = async (question: number, name: string, sent: unknown): Promise<void> => {
    try {
      const handle = answers[name];
      if (!handle) throw new Error(`Nobody answers "${name}".`);
      send({ answer: question, answered: await handle(sent) });
    } catch (error) {
      send({ answer: question, fault: toldFault(error) });
    }
  };

  peer.on('message', (received, handle) => {
    const message = received as Message;
    if ('connection' in message) {
      // Null where its client has left on the way.
      if (handle) onConnection(handle as Socket);
      send({ taken: message.connection });
    } else if ('taken' in message) letGo(message.taken);
    else if ('question' in message) void answer(message.question, message.name, message.sent);
    else {
      const waiting = asked.get(message.answer);
      asked.delete(message.answer);
      if ('fault' in message) waiting?.reject(asError(message.fault));
      else waiting?.resolve(message.answered);
    }
  });

  return {
    ask: (name, sent) =>
      new Promise((resolve, reject) => {
        if (isOver) return resolve(null);
        count += 1;
        asked.set(count, { resolve: resolve as (answered: unknown) => void, reject });
        send({ question: count, name, sent });
      }),
    give(socket) {
      if (isOver || !peer.send) return false;
      givenCount += 1;
      const number = givenCount;
      given.set(number, socket);
      // Held here too until it is taken: one that is on its way to a process that dies, node would hold for ever.
      peer.send({ connection: number } satisfies Message, socket, { keepOpen: true }, (error) => {
        if (error) letGo(number);
      });
      return true;
    },
  };
}
