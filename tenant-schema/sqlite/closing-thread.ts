import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { type CloseResult, closeDatabase, settleDatabase } from './connection.ts';

/**
 * Closes files beside the event loop. Whoever closes a database last moves its `-wal` into the main file, and SQLite
 * waits for the disk three times for that. So a thread opens the file, then it is closed here, which takes no time, and
 * the thread is the last. It is a thread, since that costs less than to tell another process, and SQLite's connections
 * of one process share the `-shm`.
 */
export interface ClosingThread {
  /** Closes the file at `path` with its handle `db`, which nobody uses any more. Never rejects; see `closeDatabase`. */
  close(path: string, db: Database.Database): Promise<CloseResult>;
  /** Ends the thread when nothing is being closed any more. */
  end(): Promise<void>;
}

/** First a file is to be opened, then, when it is closed everywhere else, to be closed. */
export interface ClosingStep {
  step: 'open' | 'close';
  path: string;
}

/** Answers one step. With `error` to an `open`, the file is not open in the thread. */
export interface ClosingReply {
  checkpointed: boolean;
  error?: { message: string; code: string };
}

export interface ClosingThreadOptions {
  /** Told of a thread that has ended by itself; until another one takes over, files are closed on the event loop. */
  died?(error: unknown): void;
  /** Default: the thread's own program. */
  start?(): Worker;
}

interface Thread {
  worker: Worker;
  /** In the order in which they are answered. */
  waiting: { answered(reply: ClosingReply): void; died(error: unknown): void }[];
}

/**
 * So many files at once are open in the thread, which each take as many descriptors as here; enough for it to have
 * something to do while the event loop is busy.
 */
const AT_ONCE = 8;

/** The thread begins with the first file that is closed. */
export function createClosingThread({ died, start = startThread }: ClosingThreadOptions = {}): ClosingThread {
  let thread: Thread | null = null;
  let isEnding = false;
  let count = 0;
  const lanes = Array.from({ length: AT_ONCE }, () => Promise.resolve());

  const begin = (): Thread => {
    const begun: Thread = { worker: start(), waiting: [] };
    let why: unknown = new Error('The thread that closes files has ended.');
    begun.worker.on('message', (reply: ClosingReply) => {
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
      if (!isEnding) died?.(why);
      for (const each of begun.waiting.splice(0)) each.died(why);
    });
    return begun;
  };

  const ask = (request: ClosingStep): Promise<ClosingReply> =>
    new Promise((answered, rejected) => {
      thread ??= begin();
      thread.worker.ref();
      thread.worker.postMessage(request);
      thread.waiting.push({ answered, died: rejected });
    });

  const closeOne = async (path: string, db: Database.Database): Promise<CloseResult> => {
    try {
      const { error } = await ask({ step: 'open', path });
      if (error !== undefined) return closeDatabase(db);
    } catch {
      return closeDatabase(db);
    }
    try {
      db.close();
      const { checkpointed, error } = await ask({ step: 'close', path });
      return { checkpointed, ...(error && { error: new Database.SqliteError(error.message, error.code) }) };
    } catch {
      // With the thread its handle has gone, and the -wal stays.
      return settleHere(path);
    }
  };

  return {
    close(path, db) {
      const lane = count++ % AT_ONCE;
      const closed = (lanes[lane] ?? Promise.resolve()).then(() => closeOne(path, db));
      lanes[lane] = closed.then(() => {});
      return closed;
    },
    async end() {
      isEnding = true;
      await thread?.worker.terminate();
      isEnding = false;
    },
  };
}

function settleHere(path: string): CloseResult {
  try {
    return settleDatabase(path);
  } catch (error) {
    return { checkpointed: false, error };
  }
}

/** The thread's own program, which answers each step in turn. */
export function startThread(): Worker {
  const extension = extname(import.meta.url);
  const program = new URL(`./closing-thread-main${extension}`, import.meta.url);
  if (extension === '.js') return new Worker(fileURLToPath(program));
  // From the sources: what loads them in this process does not do so in its threads by itself.
  const load = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${JSON.stringify(program.href)});
  })`;
  return new Worker(load, { eval: true, execArgv: [] });
}
