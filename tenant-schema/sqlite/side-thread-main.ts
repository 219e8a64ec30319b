import { parentPort } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { systemClock } from '../clock.ts';
import type { LongVerb } from '../engine.ts';
import { Fault, type FaultCode, type FaultDetails } from '../fault.ts';
import { createIds } from '../ids.ts';
import { type CloseResult, closeDatabase, openDatabase } from './connection.ts';
import { createContext } from './handle.ts';
import { StatementRecipes } from './statements.ts';
import { createStore } from './store.ts';

// The thread's own side (see `side-thread.ts`). It does one step after the other.

/** Another process of the server may be writing to the file; nobody waits for this thread but who asked. */
const BUSY_MS = 5_000;

const closing = new Map<string, Database.Database>();
const ids = createIds(systemClock);
const recipes = new StatementRecipes();

/** How often a checkpoint is begun anew for what was committed while it was made. */
const CHECKPOINT_ROUNDS = 3;

/** Opens a file that somebody in this process has open, or is about to close. */
function join(path: string): Database.Database {
  const db = new Database(path, { fileMustExist: true, timeout: 0 });
  try {
    db.pragma('synchronous = NORMAL');
    // Only a first read takes the lock that tells SQLite of this connection.
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** What the thread can be asked to do. */
export const STEPS = {
  /** Opens a file that is about to be closed everywhere else. */
  openToClose(path: string): void {
    closing.set(path, join(path));
  },

  close(path: string): CloseResult {
    const db = closing.get(path);
    if (!db) throw new Error(`${path} is not open.`);
    closing.delete(path);
    const { checkpointed, error } = closeDatabase(db);
    if (error !== undefined) throw error;
    return { checkpointed };
  },

  /**
   * Moves what is in the `-wal` into the main file. SQLite begins the `-wal` anew with the next commit after all of it was,
   * so that what is committed meanwhile is moved too, which is less each time.
   */
  checkpoint(path: string): void {
    const db = join(path);
    try {
      const move = db.prepare<[], { log: number; checkpointed: number }>('PRAGMA wal_checkpoint(PASSIVE)');
      for (let round = 0; round < CHECKPOINT_ROUNDS; round += 1) {
        const moved = move.get();
        if (moved?.log === moved?.checkpointed) break;
      }
    } finally {
      db.close();
    }
  },

  /** Runs one verb on a file that is open elsewhere in this process, where it was looked at. */
  run({ path, verb, args, now }: { path: string; verb: LongVerb; args: unknown[]; now: number }): unknown {
    const db = openDatabase(path, { mustExist: true, synchronous: 'NORMAL' });
    try {
      db.pragma(`busy_timeout = ${BUSY_MS}`);
      const clock = { now: () => now, monotonic: systemClock.monotonic };
      const store = createStore(createContext(db, { clock, ids, runId: '', recipes }));
      return Reflect.apply(store[verb], store, args);
    } finally {
      db.close();
    }
  },
};
export type StepName = keyof typeof STEPS;
export type StepInput<N extends StepName> = Parameters<(typeof STEPS)[N]>[0];
export type StepResult<N extends StepName> = ReturnType<(typeof STEPS)[N]>;

export interface StepRequest {
  name: StepName;
  input: unknown;
}

/** An error is no error of its kind any more on the other side of a message: it is told in parts. */
export type StepReply =
  | { result: unknown }
  | { error: { message: string; sqlite?: string; fault?: { code: FaultCode; details: FaultDetails } } };

function answer({ name, input }: StepRequest): StepReply {
  try {
    const step = STEPS[name] as (input: unknown) => unknown;
    return { result: step(input) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return {
      error: {
        message,
        ...(error instanceof Database.SqliteError && { sqlite: error.code }),
        ...(error instanceof Fault && { fault: { code: error.code, details: error.details } }),
      },
    };
  }
}

parentPort?.on('message', (request: StepRequest) => {
  parentPort?.postMessage(answer(request));
});
