import { parentPort } from 'node:worker_threads';
import Database from 'better-sqlite3';
import type { ClosingReply, ClosingStep } from './closing-thread.ts';
import { closeDatabase } from './connection.ts';

// The thread's own side. It answers each step in turn.

const open = new Map<string, Database.Database>();

function openFile(path: string): ClosingReply {
  let db: Database.Database | null = null;
  try {
    db = new Database(path, { fileMustExist: true, timeout: 0 });
    db.pragma('synchronous = NORMAL');
    // Only a first read takes the lock that tells SQLite of this connection.
    db.prepare('SELECT count(*) FROM sqlite_schema').get();
    open.set(path, db);
    return { checkpointed: false };
  } catch (error) {
    db?.close();
    return { checkpointed: false, error };
  }
}

function closeFile(path: string): ClosingReply {
  const db = open.get(path);
  if (!db) return { checkpointed: false, error: new Error(`${path} is not open.`) };
  open.delete(path);
  return closeDatabase(db);
}

parentPort?.on('message', ({ step, path }: ClosingStep) => {
  parentPort?.postMessage(step === 'open' ? openFile(path) : closeFile(path));
});
