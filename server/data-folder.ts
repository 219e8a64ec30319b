import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';

/** Why the server cannot start, in one line for the operator. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** The folder with all the server's data, owned by this process until it is released. */
export interface DataFolder {
  controlDb: string;
  tenants: string;
  release(): void;
}

const SUBFOLDERS = ['tenants', 'backups', 'trash'] as const;

/** Makes the folder and those in it, readable by their owner alone. */
function makeFolders(path: string): void {
  for (const folder of [path, ...SUBFOLDERS.map((name) => join(path, name))]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // One that was there already, or made under another umask.
    chmodSync(folder, 0o700);
  }
}

/** Takes the exclusive lock on `lock.db`; the system frees it when the process dies, however it dies. */
function lock(folder: string): () => void {
  const path = join(folder, 'lock.db');
  try {
    // Only where there is none: closing a descriptor of a file that SQLite has open would drop SQLite's lock.
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  const db = new Database(path, { timeout: 0 });
  try {
    // Nothing is ever written, so no journal need lie about.
    db.pragma('journal_mode = MEMORY');
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('BEGIN EXCLUSIVE; COMMIT');
  } catch (error) {
    db.close();
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
      throw new StartError(`another server owns ${folder}: stop it first, or set DATA_DIR to another folder`);
    }
    throw error;
  }
  return () => db.close();
}

/**
 * Makes the data folder where it is missing and takes it for this process.
 * @throws `StartError` when another server has it, or when it cannot be made or locked.
 */
export function openDataFolder(path: string): DataFolder {
  try {
    makeFolders(path);
    const release = lock(path);
    return { controlDb: join(path, 'control.db'), tenants: join(path, 'tenants'), release };
  } catch (error) {
    if (error instanceof StartError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartError(`DATA_DIR cannot be used: ${reason}`, { cause: error });
  }
}
