import { lstatSync } from 'node:fs';
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

// What a thread does (see `side-thread.ts`), one step after the other.

/** The file could not be opened here, or is not the one that was meant: nothing was done. */
class NotOpenedError extends Error {}

const closing = new Map<string, Database.Database>();
const ids = createIds(systemClock);
const recipes = new StatementRecipes();

/** A file that is open elsewhere in this process, where it was looked at, and what it was then. */
export interface OpenFile {
  path: string;
  device: number;
  inode: number;
}

/** Opens the file once more. Its first read takes the lock that tells SQLite of this connection. */
function join({ path, device, inode }: OpenFile, open: () => Database.Database): Database.Database {
  let db: Database.Database | undefined;
  try {
    const { dev, ino } = lstatSync(path);
    // Not to be opened: the -wal beside it is that of the file that has no name any more.
    if (dev !== device || ino !== inode) throw new Error('It is another file than the one that is open.');
    db = open();
    db.pragma('synchronous = NORMAL');
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    return db;
  } catch (error) {
    db?.close();
    throw new NotOpenedError(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** What the thread can be asked to do. */
const STEPS = {
  /** Tells that all that was asked before is done. */
  ready(): void {},

  /** Opens a file that is about to be closed everywhere else. */
  openToClose(file: OpenFile): void {
    closing.set(
      file.path,
      join(file, () => new Database(file.path, { fileMustExist: true, timeout: 0 })),
    );
  },

  close({ path }: OpenFile): CloseResult {
    const db = closing.get(path);
    if (!db) throw new Error(`${path} is not open.`);
    closing.delete(path);
    const { checkpointed, error } = closeDatabase(db);
    if (error !== undefined) throw error;
    return { checkpointed };
  },

  /** Runs one verb. */
  run({ verb, args, now, ...file }: OpenFile & { verb: LongVerb; args: unknown[]; now: number }): unknown {
    const db = join(file, () => openDatabase(file.path, { mustExist: true, synchronous: 'NORMAL' }));
    try {
      const clock = { now: () => now, monotonic: systemClock.monotonic };
      const store = createStore(createContext(db, { clock, ids, runId: '', recipes }));
      return Reflect.apply(store[verb], store, args);
    } finally {
      db.close();
    }
  },
};
export type StepName = keyof typeof STEPS;
export type StepInput<N extends StepName> = Parameters<(typeof STEPS)[N]>;
export type StepResult<N extends StepName> = ReturnType<(typeof STEPS)[N]>;

export interface StepRequest {
  id: number;
  name: StepName;
  input: unknown[];
}

/** An error is no error of its kind any more on the other side of a message: it is told in parts. */
export interface StepError {
  message: string;
  stack: string | undefined;
  notOpened?: boolean;
  sqlite?: string;
  fault?: { code: FaultCode; details: FaultDetails };
}

export type StepReply = { id: number } & ({ result: unknown } | { error: StepError });

function answer({ id, name, input }: StepRequest): StepReply {
  try {
    const step = STEPS[name] as (...input: unknown[]) => unknown;
    return { id, result: step(...input) };
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return {
      id,
      error: {
        message,
        stack,
        ...(error instanceof NotOpenedError && { notOpened: true }),
        ...(error instanceof Database.SqliteError && { sqlite: error.code }),
        ...(error instanceof Fault && { fault: { code: error.code, details: error.details } }),
      },
    };
  }
}

parentPort?.on('message', (request: StepRequest) => {
  parentPort?.postMessage(answer(request));
});
