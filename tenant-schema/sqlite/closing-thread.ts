import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type Database from 'better-sqlite3';
import { type CloseResult, closeDatabase, settleDatabase } from './connection.ts';

/**
 * Closes files beside the event loop. Whoever closes a database last moves its `-wal` into the main file, and SQLite
 * waits for the disk three times for that. So a thread opens the file, then it is closed here, which takes no time, and
 * the thread is the last.
 *
 * A thread and not a process, whose locks SQLite would see as another program's: of two connections of one process it
 * knows which is the last.
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

/** Answers one step. `error` of an `open`: it is not open in the thread. */
export type ClosingReply = CloseResult;

interface Waiting {
  answered(reply: ClosingReply): void;
  died(error: unknown): void;
}

const PROGRAM = fileURLToPath(new URL(`./closing-thread-main${extname(import.meta.url)}`, import.meta.url));

/** The thread begins with the first file that is closed. */
export function createClosingThread(): ClosingThread {
  let thread: Worker | null = null;
  /** In the order in which they are answered. */
  let waiting: Waiting[] = [];

  const start = (): Worker => {
    const started = new Worker(PROGRAM);
    started.on('message', (reply: ClosingReply) => {
      waiting.shift()?.answered(reply);
      // An idle thread keeps nothing alive.
      if (waiting.length === 0) started.unref();
    });
    const died = (error: unknown): void => {
      if (thread === started) thread = null;
      const lost = waiting;
      waiting = [];
      for (const each of lost) each.died(error);
    };
    started.on('error', died);
    started.on('exit', () => died(new Error('The thread that closes files has ended.')));
    return started;
  };

  const ask = (request: ClosingStep): Promise<ClosingReply> =>
    new Promise((answered, died) => {
      thread ??= start();
      thread.ref();
      waiting.push({ answered, died });
      thread.postMessage(request);
    });

  return {
    async close(path, db) {
      try {
        const { error } = await ask({ step: 'open', path });
        if (error !== undefined) return closeDatabase(db);
      } catch {
        return closeDatabase(db);
      }
      db.close();
      try {
        return await ask({ step: 'close', path });
      } catch {
        // With the thread its handle has gone, and the -wal stays.
        return settleHere(path);
      }
    },
    async end() {
      await thread?.terminate();
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
