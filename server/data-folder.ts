import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { ConfigError } from './config.ts';

/** Why the server cannot start, in one line for the operator. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** Another process owns the folder. */
export class FolderInUseError extends StartError {}

/** The folder with all the server's data, owned by this process until it is released. */
export interface DataFolder {
  controlDb: string;
  /** Whether there were tenants' files when it was taken. */
  holdsTenants: boolean;
  tenants: string;
  release(): void;
}

const SUBFOLDERS = ['tenants', 'backups', 'trash', 'tmp'] as const;

function syncFolder(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes the folder and those in it, readable by their owner alone. */
function makeFolders(path: string): void {
  for (const folder of [path, ...SUBFOLDERS.map((name) => join(path, name))]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // The folder's own entry must survive a power cut as well as what is in it.
    syncFolder(dirname(folder));
    // One that was there already, or made under another umask.
    chmodSync(folder, 0o700);
  }
}

/** Only where there is none: closing a descriptor of a file that SQLite has open would drop SQLite's lock. */
function makeLockFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}

const workersLock = (folder: string): string => join(folder, 'workers.db');
/** A worker ends as soon as its server has; so long it may take to notice. */
const WORKERS_END_MS = 5_000;

/**
 * For a worker: shows that the folder is in use for as long as this process lives, however it ends. Another server does
 * not take the folder before.
 */
export function showInUse(folder: string): void {
  const path = workersLock(folder);
  makeLockFile(path);
  const db = new Database(path, { timeout: WORKERS_END_MS });
  // A transaction that has read holds a lock that others may share, until it ends.
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM sqlite_schema').get();
}

/** @throws `FolderInUseError` where workers of a server that was killed do not end */
function waitForWorkers(folder: string): void {
  const path = workersLock(folder);
  if (!existsSync(path)) return;
  const db = new Database(path, { timeout: WORKERS_END_MS });
  try {
    db.exec('BEGIN EXCLUSIVE; COMMIT');
  } catch (error) {
    if (!(error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY'))) throw error;
    throw new FolderInUseError(
      `workers of a server that has ended still use ${folder}: end them first, or set DATA_DIR to another folder`,
    );
  } finally {
    db.close();
  }
}

/** Takes the exclusive lock on `lock.db`; the system frees it when the process dies, however it dies. */
function lock(folder: string): () => void {
  const path = join(folder, 'lock.db');
  makeLockFile(path);
  const db = new Database(path, { timeout: 0 });
  try {
    // Nothing is ever written, so no journal need lie about.
    db.pragma('journal_mode = MEMORY');
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('BEGIN EXCLUSIVE; COMMIT');
  } catch (error) {
    db.close();
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
      throw new FolderInUseError(
        `another server owns ${folder}: stop it first, or set DATA_DIR to another folder`,
      );
    }
    throw error;
  }
  return () => db.close();
}

/**
 * Makes the data folder where it is missing and takes it for this process.
 * @throws `FolderInUseError` when another server has it, `ConfigError` when it cannot be made or locked
 */
export function openDataFolder(path: string): DataFolder {
  try {
    makeFolders(path);
    const release = lock(path);
    try {
      waitForWorkers(path);
    } catch (error) {
      release();
      throw error;
    }
    // What a killed server has left: whoever listens at that address now is to be told nothing.
    rmSync(announcement(path), { force: true });
    const controlDb = join(path, 'control.db');
    const tenants = join(path, 'tenants');
    const holdsTenants = readdirSync(tenants).some((name) => name.endsWith('.db'));
    return { controlDb, holdsTenants, tenants, release };
  } catch (error) {
    if (error instanceof StartError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError('DATA_DIR', `a folder that the server may write to (${reason})`);
  }
}

const announcement = (folder: string): string => join(folder, 'server.json');

/** Where a server listens, and what tells it from any other that listens there. */
export interface Announcement {
  url: string;
  /** Known to this run of the server and to who may read the folder; never sent. */
  runSecret: string;
}

export const newRunSecret = (): string => randomBytes(32).toString('base64url');

/** What the run that has the secret, and nobody else, answers to a challenge. */
export const proofOf = (runSecret: string, challenge: string): string =>
  createHmac('sha256', runSecret).update(challenge).digest('base64url');

/** Whether the answer to the challenge comes from the run that has the secret. */
export function isProof(runSecret: string, challenge: string, proof: string): boolean {
  const given = Buffer.from(proof);
  const expected = Buffer.from(proofOf(runSecret, challenge));
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/**
 * Writes down where the server of this folder listens, for commands on this machine. Gives what takes it back.
 * Only the folder's owner may call this.
 */
export function announce(folder: string, { url, runSecret }: Announcement): () => void {
  const path = announcement(folder);
  const unfinished = `${path}.new`;
  rmSync(unfinished, { force: true });
  writeFileSync(unfinished, `${JSON.stringify({ url, pid: process.pid, run_secret: runSecret })}\n`, {
    mode: 0o600,
  });
  renameSync(unfinished, path);
  return () => rmSync(path, { force: true });
}

/** Where the folder's server says it listens; null where none has said so. To be believed only with a proof. */
export function announced(folder: string): Announcement | null {
  try {
    const { url, run_secret: runSecret } = JSON.parse(readFileSync(announcement(folder), 'utf8')) as Record<
      string,
      unknown
    >;
    if (typeof url !== 'string' || !URL.canParse(url) || typeof runSecret !== 'string') return null;
    return runSecret === '' ? null : { url, runSecret };
  } catch {
    return null;
  }
}
