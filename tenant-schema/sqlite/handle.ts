import type Database from 'better-sqlite3';
import type { BetterSQLite3Database } from 'drizzle-orm/better-sqlite3';
import type { Clock } from '../clock.ts';
import { Fault } from '../fault.ts';
import type { IdMaker } from '../ids.ts';
import { HEADROOM_BYTES } from '../room.ts';
import type { UsageDay } from '../store.ts';
import { type Commit, sparingNewWal } from './new-wal.ts';
import { quickDrizzle } from './quick-drizzle.ts';
import { StatementRecipes, type Statements, statementsOf } from './statements.ts';

/** What the verbs of one open file work with. It lives and dies with the file's handle. */
export interface StoreContext extends Statements {
  readonly orm: BetterSQLite3Database;
  readonly clock: Clock;
  readonly ids: IdMaker;
  /** Names this start of this process; an open turn of a run that is over is dead. */
  readonly runId: string;
  /** Whether a process of this name is at work: this one, or another of the same server. */
  isLiveRun(runId: string): boolean;
  /** What the tenant's data take of the file in bytes, free pages aside: what its storage limit is about. */
  usedBytes(): number;
  /**
   * Before data are added: the file must take less than `bytesMax`, which is the tenant's limit at the time of opening
   * unless given. So many `reserved` bytes that are about to come may go beyond it by the headroom, and no further.
   * @throws `storage_quota_exceeded`
   */
  requireRoom(bytesMax?: number | null, reserved?: number): void;
  /** What SQLite has no other words for: runs it to its end and gives the first value of its answer. */
  pragma(source: string): unknown;
  /** One consistent view for several reads. */
  read<T>(work: () => T): T;
  /** One transaction that may write. Immediate: a deferred one fails at once when another commit came between. */
  write<T>(work: () => T): T;
  /** How many transactions that may write were committed through this handle. */
  commits(): number;
  /** As `write`, for what makes room, and for what was admitted and must be stored: the file's limit does not hold. */
  writeBeyondLimit<T>(work: () => T): T;
  /** As `write`, for what nobody is told of as done: a power cut may undo it until something else is on the disk. */
  writeUnpromised<T>(work: () => T): T;
  /** What the file holds is about to be given out as done, whoever has written it. */
  promise(): void;
  /** Only inside `write`: tells the engine of a turn's end, once that is committed. */
  reportUsage(usage: UsageDay): void;
}

export interface ContextParts extends Pick<StoreContext, 'clock' | 'ids' | 'runId'> {
  /** Default: no other process works on the file. */
  isLiveRun?(runId: string): boolean;
  /** What the file may take, free pages aside, before nothing is added any more. Default: no limit. */
  storageBytesMax?: number | null;
  /** Of a file opened with `synchronous = NORMAL`, whose `-wal` is synced by whoever asks for it. Default: by SQLite. */
  walPath?: string;
  /** Shared by the handles of files that are alike, whose verbs are made in the same way. Default: of this one alone. */
  recipes?: StatementRecipes;
  /** Called after the commit with each turn that has ended in it. Must not throw. */
  onUsage?(usage: UsageDay): void;
  /** Called where what the file holds must be on the disk before anybody hears of it. Must not throw. */
  onPromise?(): void;
}

/** As many as SQLite ever lets a file have. */
const PAGES_MAX = 0xffff_fffe;

export function createContext(db: Database.Database, parts: ContextParts): StoreContext {
  // Made once: better-sqlite3 builds a new function, with its statements, at each call of `transaction`.
  const transaction = db.transaction((work: () => unknown) => work());
  const statements = statementsOf(db, parts.recipes ?? new StatementRecipes());
  const pagesInUse = statements.prepared(() =>
    db
      .prepare<[], number>(
        'SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size',
      )
      .pluck(),
  );
  const { clock, ids, runId, storageBytesMax = null, onUsage } = parts;
  const promise = (): void => parts.onPromise?.();
  const limitPages = pageLimiter(db, storageBytesMax);
  limitPages(true);
  const immediate: Commit = <T>(work: () => T) => transaction.immediate(work) as T;
  const commit = parts.walPath === undefined ? immediate : sparingNewWal(db, parts.walPath, immediate);
  const usedBytesNow = (): number => pagesInUse().get() ?? 0;
  let ended: UsageDay[] = [];
  let commits = 0;
  const writeUnpromised = <T>(work: () => T): T => {
    ended = [];
    const result = commit(work);
    commits += 1;
    if (onUsage) ended.forEach(onUsage);
    return result;
  };
  const write = <T>(work: () => T): T => {
    const result = writeUnpromised(work);
    promise();
    return result;
  };
  return {
    ...statements,
    clock,
    ids,
    runId,
    isLiveRun: (id) => id === runId || (parts.isLiveRun?.(id) ?? false),
    usedBytes: usedBytesNow,
    requireRoom(bytesMax = storageBytesMax, reserved = 0) {
      if (bytesMax === null) return;
      const usedBytes = usedBytesNow();
      if (usedBytes >= bytesMax) {
        throw new Fault(
          'storage_quota_exceeded',
          `The data of this tenant have reached its limit of ${bytesMax} bytes; delete conversations, or ask for more.`,
          { details: { limit: 'storage_bytes_max' } },
        );
      }
      if (usedBytes + reserved > bytesMax + HEADROOM_BYTES) {
        throw new Fault(
          'storage_quota_exceeded',
          `The turns of this tenant that run need what its limit of ${bytesMax} bytes leaves; try again when they have ended.`,
          { details: { limit: 'storage_bytes_max', retryAfterSeconds: 1 } },
        );
      }
    },
    orm: quickDrizzle(db),
    read: <T>(work: () => T) => transaction.deferred(work) as T,
    write,
    writeUnpromised,
    promise,
    commits: () => commits,
    writeBeyondLimit(work) {
      limitPages(false);
      try {
        return write(work);
      } finally {
        limitPages(true);
      }
    },
    reportUsage: (usage) => {
      ended.push(usage);
    },
    pragma: (source) => {
      // All of its rows: some pragmas do a part of their work at each.
      const [row] = db.pragma(source) as Record<string, unknown>[];
      return row && Object.values(row)[0];
    },
  };
}

/** Sets the hard end of a file's growth or lifts it. SQLite forgets it when the file is closed. */
function pageLimiter(db: Database.Database, bytesMax: number | null): (limited: boolean) => void {
  if (bytesMax === null) return () => {};
  const pageBytes = Number(db.pragma('page_size', { simple: true }));
  // Where the file has more, SQLite takes that for the limit.
  const pagesMax = Math.min(Math.ceil((bytesMax + HEADROOM_BYTES) / pageBytes), PAGES_MAX);
  const limit = db.prepare(`PRAGMA max_page_count = ${pagesMax}`);
  const lift = db.prepare(`PRAGMA max_page_count = ${PAGES_MAX}`);
  return (limited) => {
    (limited ? limit : lift).get();
  };
}
