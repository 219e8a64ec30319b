import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { Fault } from '../fault.ts';
import type { StepInput, StepName, StepReply, StepRequest, StepResult } from './side-thread-main.ts';

/**
 * Works on tenants' files beside the event loop: for some milliseconds each, where to tell another process would cost as
 * much. SQLite's connections of one process share the `-shm` and its locks, so that a file may be open here too.
 */
export interface SideThread {
  /**
   * Has one thing done, after what was asked for before.
   * @throws ThreadEndedError where the thread ended first; else what the step threw: a fault, SQLite's error, or a plain
   *   error
   */
  ask<N extends StepName>(name: N, input: StepInput<N>): Promise<StepResult<N>>;
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

export interface SideThreadOptions {
  /** Told of a thread that has ended by itself; another one is started with the next step. */
  died?(error: unknown): void;
  /** Default: the thread's own program. */
  start?(): Worker;
}

interface Running {
  worker: Worker;
  /** In the order in which they are answered. */
  waiting: { answered(reply: StepReply): void; died(error: ThreadEndedError): void }[];
}

/** The thread begins with the first step. */
export function createSideThread({ died, start = startThread }: SideThreadOptions = {}): SideThread {
  let thread: Running | null = null;
  let isEnding = false;

  const begin = (): Running => {
    const begun: Running = { worker: start(), waiting: [] };
    let why: unknown;
    begun.worker.on('message', (reply: StepReply) => {
      begun.waiting.shift()?.answered(reply);
      // An idle thread keeps nothing alive.
      if (begun.waiting.length === 0) begun.worker.unref();
    });
    begun.worker.on('error', (error) => {
      why = error;
    });
    // Not before: only now its handles are closed too, and whoever asks meanwhile is in the same list.
    begun.worker.on('exit', () => {
      thread = null;
      const error = new ThreadEndedError(why);
      if (!isEnding) died?.(why ?? error);
      for (const each of begun.waiting.splice(0)) each.died(error);
    });
    return begun;
  };

  return {
    async ask<N extends StepName>(name: N, input: StepInput<N>) {
      const reply = await new Promise<StepReply>((answered, rejected) => {
        thread ??= begin();
        thread.worker.ref();
        thread.worker.postMessage({ name, input } satisfies StepRequest);
        thread.waiting.push({ answered, died: rejected });
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

function errorOf({ message, sqlite, fault }: Extract<StepReply, { error: unknown }>['error']): Error {
  if (fault) return new Fault(fault.code, message, { details: fault.details });
  return sqlite === undefined ? new Error(message) : new Database.SqliteError(message, sqlite);
}

/** The thread's own program. */
export function startThread(): Worker {
  const extension = extname(import.meta.url);
  const program = new URL(`./side-thread-main${extension}`, import.meta.url);
  if (extension === '.js') return new Worker(fileURLToPath(program));
  // From the sources: what loads them in this process does not do so in its threads by itself.
  const load = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${JSON.stringify(program.href)});
  })`;
  return new Worker(load, { eval: true, execArgv: [] });
}
