import { parentPort } from 'node:worker_threads';
import Database from 'better-sqlite3';
import type { ClosingReply, ClosingStep } from './closing-thread.ts';
import { closeDatabase } from './connection.ts';

// The thread's own side. It answers each step in turn.

const open = new Map<string, Database.Database>();

/** An error of SQLite is no error any more on the other side of a message. */
const failed = (error: unknown): ClosingReply => ({
  checkpointed: false,
  error: {
    message: error instanceof Error ? error.message : String(error),
    code: error instanceof Database.SqliteError ? error.code : 'SQLITE_ERROR',
  },
});

function openFile(path: string): ClosingReply {
  const db = new Database(path, { fileMustExist: true, timeout: 0 });
  try {
    db.pragma('synchronous = NORMAL');
    // Only a first read takes the lock that tells SQLite of this connection.
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
  } catch (error) {
    db.close();
    throw error;
  }
  open.set(path, db);
  return { checkpointed: false };
}

function closeFile(path: string): ClosingReply {
  const db = open.get(path);
  if (!db) throw new Error(`${path} is not open.`);
  open.delete(path);
  const { checkpointed, error } = closeDatabase(db);
  return error === undefined ? { checkpointed } : failed(error);
}

parentPort?.on('message', ({ step, path }: ClosingStep) => {
  let reply: ClosingReply;
  try {
    reply = step === 'open' ? openFile(path) : closeFile(path);
  } catch (error) {
    reply = failed(error);
  }
  parentPort?.postMessage(reply);
});
