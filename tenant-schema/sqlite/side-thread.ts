import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { Fault } from '../fault.ts';
import type { StepError, StepInput, StepName, StepReply, StepRequest, StepResult } from './side-steps.ts';
import type { ThreadData } from './side-thread-main.ts';

/**
 * Works on tenants' files beside the event loop: for some milliseconds each, where to tell another process would cost as
 * much. SQLite's connections of one process share the `-shm` and its locks, so that a file may be open here too.
 */
export interface SideThread {
  /**
   * Has one thing done, after what was asked for before.
   * @throws ThreadEndedError where the thread ended first; NotOpenedThereError; else what the step threw: a fault,
   *   SQLite's error, or a plain error
   */
  ask<N extends StepName>(name: N, ...input: StepInput<N>): Promise<StepResult<N>>;
  /** Ends the thread with what it does. */
  end(): Promise<void>;
}

/** The thread ended before it had answered. It may or may not have done what it was asked for; its files are closed. */
export class ThreadEndedError extends Error {
  override readonly name = 'ThreadEndedError';
  constructor(cause: unknown) {
    super('The thread that works on files has ended.', { cause });
  }
}

/** The thread could not open the file, for want of descriptors say, or found another one there: it has done nothing. */
export class NotOpenedThereError extends Error {
  override readonly name = 'NotOpenedThereError';
}

export interface SideThreadOptions extends ThreadData {
  /** Told of a thread that has ended by itself; another one is started with the next step. */
  died?(error: unknown): void;
  /** Default: the thread's own program. */
  start?(data: ThreadData): Worker;
}

interface Running {
  worker: Worker;
  /** Who waits for the answer of which number. */
  waiting: Map<number, { answered(reply: StepReply): void; died(error: ThreadEndedError): void }>;
}

/** The thread begins with the first step. */
export function createSideThread({ died, start = startThread, niceness }: SideThreadOptions): SideThread {
  let thread: Running | null = null;
  let isEnding = false;
  let asked = 0;

  const begin = (): Running => {
    const begun: Running = { worker: start({ niceness }), waiting: new Map() };
    const { worker, waiting } = begun;
    let why: unknown;
    worker.on('message', (reply: StepReply) => {
      waiting.get(reply.id)?.answered(reply);
      waiting.delete(reply.id);
      // An idle thread keeps nothing alive.
      if (waiting.size === 0) worker.unref();
    });
    worker.on('error', (error) => {
      why = error;
    });
    // An answer that cannot be read: who waits for it is told by the end.
    worker.on('messageerror', () => void worker.terminate());
    // Not before: only now its handles are closed too, and whoever asks meanwhile is in the same list.
    worker.on('exit', () => {
      thread = null;
      const error = new ThreadEndedError(why);
      if (!isEnding) died?.(why ?? error);
      for (const each of waiting.values()) each.died(error);
      waiting.clear();
    });
    return begun;
  };

  /** @throws ThreadEndedError where the system gives no thread */
  const running = (): Running => {
    try {
      thread ??= begin();
      return thread;
    } catch (error) {
      died?.(error);
      throw new ThreadEndedError(error);
    }
  };

  return {
    async ask<N extends StepName>(name: N, ...input: StepInput<N>) {
      const { worker, waiting } = running();
      const id = asked++;
      const reply = await new Promise<StepReply>((answered, rejected) => {
        worker.ref();
        worker.postMessage({ id, name, input } satisfies StepRequest);
        waiting.set(id, { answered, died: rejected });
      });
      if ('error' in reply) throw errorOf(reply.error);
      // The thread answers each step with its result.
      return reply.result as StepResult<N>;
    },

    async end() {
      isEnding = true;
      await thread?.worker.terminate();
      isEnding = false;
    },
  };
}

function errorOf({ message, stack, notOpened, sqlite, fault }: StepError): Error {
  if (fault) return new Fault(fault.code, message, { details: fault.details });
  if (notOpened) return new NotOpenedThereError(message);
  if (sqlite !== undefined) return new Database.SqliteError(message, sqlite);
  return Object.assign(new Error(message), { stack });
}

/** The thread's own program. */
export function startThread(workerData: ThreadData): Worker {
  const extension = extname(import.meta.url);
  const program = new URL(`./side-thread-main${extension}`, import.meta.url);
  if (extension === '.js') return new Worker(fileURLToPath(program), { workerData });
  // From the sources: what loads them in this process does not do so in its threads by itself.
  const load = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${JSON.stringify(program.href)});
  })`;
  return new Worker(load, { eval: true, execArgv: [], workerData });
}
