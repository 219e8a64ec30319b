import { closeSync, fdatasync, type NoParamCallback, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

/** Has the disk take what was written to a file or a folder. Resolves when it has. */
export type SyncFile = (descriptor: number, path: string) => Promise<void>;

/** What was committed may not be on the disk, and no later sync that succeeds would prove that it is. */
export class WalSyncError extends Error {
  constructor(path: string, cause: unknown) {
    super(`${path} could not be written to the disk.`, { cause });
  }
}

export interface WalSyncOptions {
  /** Called once. */
  onFailure(error: WalSyncError): void;
  /** Default: `fdatasync`. */
  syncFile?: SyncFile | undefined;
}

const syncData: SyncFile = promisify((descriptor: number, _path: string, done: NoParamCallback) =>
  fdatasync(descriptor, done),
);

/**
 * Brings the commits of one open file to the disk, off the event loop. SQLite commits with `synchronous = NORMAL`, which
 * leaves them in the system's memory; this is what `FULL` does besides, and what it costs is shared by all who wait at
 * the same moment. Never more than one sync runs: on the same file they would wait for each other, each with one of the
 * few threads that libuv has.
 */
export class WalSync {
  readonly #path: string;
  readonly #syncFile: SyncFile;
  readonly #onFailure: WalSyncOptions['onFailure'];
  #descriptor: number | null;
  /** Until the first sync: nobody has synced the name of the `-wal` for certain, neither of one that was there nor of a new one. */
  #folderIsDue = true;
  /** Commits so far that somebody waits for, how many of them the sync under way covers, and how many are on the disk. */
  #promised = 0;
  #covered = 0;
  #synced = 0;
  #current: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #failure: WalSyncError | null = null;

  /**
   * @param path of the `-wal`, which is there while SQLite has its database open. SQLite locks nothing in it, so that it
   *   may be opened beside it.
   */
  constructor(path: string, options: WalSyncOptions) {
    this.#path = path;
    // Before anything is committed. Of what the disk does not take, the system tells each descriptor that was open then,
    // and a later one only where nobody has heard of it; what SQLite hears at its own checkpoints it keeps to itself.
    this.#descriptor = openSync(path, 'r');
    this.#onFailure = options.onFailure;
    this.#syncFile = options.syncFile ?? syncData;
  }

  /** What the file holds at this moment is about to be told as done. */
  promise(): void {
    this.#promised += 1;
  }

  /** @throws WalSyncError where a sync has failed: whatever is in the file may not be on the disk */
  requireTrust(): void {
    if (this.#failure) throw this.#failure;
  }

  /**
   * Resolves when all that was promised so far is on the disk; null where it is.
   * @throws WalSyncError as a rejection
   */
  settled(): Promise<void> | null {
    if (this.#promised === this.#synced) return null;
    if (!this.#current) return this.#begin();
    // A sync that has begun says nothing about what was committed after that.
    if (this.#covered === this.#promised) return this.#current;
    this.#next ??= this.#current.then(() => this.settled() ?? undefined);
    return this.#next;
  }

  /** To be called when nobody waits any more. */
  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  #begin(): Promise<void> {
    this.#next = null;
    this.#current = this.#run();
    return this.#current;
  }

  async #run(): Promise<void> {
    try {
      this.requireTrust();
      if (this.#descriptor === null) throw new Error('It is closed.');
      this.#covered = this.#promised;
      await this.#syncFile(this.#descriptor, this.#path);
      if (this.#folderIsDue) await this.#syncFolder(dirname(this.#path));
      this.#folderIsDue = false;
      this.#synced = this.#covered;
    } catch (error) {
      if (!this.#failure) {
        this.#failure = new WalSyncError(this.#path, error);
        this.#onFailure(this.#failure);
      }
      throw this.#failure;
    } finally {
      this.#current = null;
    }
  }

  async #syncFolder(path: string): Promise<void> {
    const descriptor = openSync(path, 'r');
    try {
      await this.#syncFile(descriptor, path);
    } finally {
      closeSync(descriptor);
    }
  }
}
