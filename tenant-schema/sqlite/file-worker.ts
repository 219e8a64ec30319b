import { type ChildProcess, fork } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { setPriority } from 'node:os';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { Fault } from '../fault.ts';
import { InvalidDatabaseError } from './known-schema.ts';
import { OLDER_DATABASE, OlderDatabaseError } from './migrator.ts';
import type { JobInput, JobName, JobReply, JobRequest, JobResult } from './worker.ts';

/** Runs long work on files in child processes, so that the event loop and the server's heap are left alone. */
export interface FileWorker {
  /**
   * @param timeoutMs the child is killed when it takes longer, counted from when one is free for it; null: generous, by
   *   the size of the file, so that one that hangs does not hold the file for ever
   * @throws InvalidDatabaseError where the fault is the file's; OlderDatabaseError; `JobEndedError` where the child ended first; SQLite's
   *   own error; `overloaded` once the worker is closed
   */
  run<N extends JobName>(name: N, input: JobInput<N>, timeoutMs: number | null): Promise<JobResult<N>>;
  /** Kills what runs. */
  close(): Promise<void>;
}

/** The child ended before its work did. */
export class JobEndedError extends Error {
  override readonly name = 'JobEndedError';
  /** `timeout`: it was killed for that. `crash`: what it worked on made it fail. `killed`: by somebody else. */
  readonly reason: 'timeout' | 'crash' | 'killed';

  constructor(reason: 'timeout' | 'crash' | 'killed', how: string) {
    super(`The work on the file was ended (${how}).`);
    this.reason = reason;
  }
}

/** A child that has nothing to do is ended after this time, unless it is kept. */
const IDLE_MS = 5_000;
/** A hostile file may make SQLite or our checks allocate; the child's heap is bounded apart from the server's. */
const CHILD_HEAP_MB = 1024;

interface Child {
  process: ChildProcess;
  idleTimer: NodeJS.Timeout | null;
  /** Resolves when it has ended, or could not be started. */
  gone: Promise<void>;
}

export interface FileWorkerOptions {
  childrenMax: number;
  /**
   * So many that have nothing to do are kept for what comes. A child's start is felt: the fork stops the event loop for
   * 15 to 40 ms in a server that has been busy, 5 ms in one that has just begun, and then a program is loaded for 0.3 s.
   * Default: none.
   */
  keptChildren?: number;
  /** How far behind the server's own work they stay, up to 19. Default: 10, for what somebody waits for. */
  niceness?: number;
  /** They are started now instead of with the first work. */
  startsKept?: boolean;
  /** How long another one may have nothing to do; only tests give it. */
  idleMs?: number;
  /** How long work may take on files of so many bytes; only tests give one. */
  timeLimitMsOf?(fileBytes: number): number;
}

/** A slow disk, other copies and a busy machine at once: what takes longer does not come to an end any more. */
const TIME_LIMIT_BASE_MS = 5 * 60 * 1000;
const TIME_LIMIT_MS_PER_MIB = 3_000;
const TIME_LIMIT_MS_MAX = 7 * 24 * 60 * 60 * 1000;
const generousMs = (fileBytes: number): number =>
  Math.min(TIME_LIMIT_BASE_MS + (fileBytes / 2 ** 20) * TIME_LIMIT_MS_PER_MIB, TIME_LIMIT_MS_MAX);

/** Behind the server's own work by so much. */
const NICENESS = 10;

/** From the beginning: a Node.js that starts is busy for as long as twenty turns. */
function stayBehind(pid: number, niceness: number): void {
  try {
    setPriority(pid, niceness);
  } catch {
    // It has ended already, which is told otherwise.
  }
}

/** How much a job has to read. Only names and sizes are looked at: the file may be open. */
function bytesOf(input: { source: string } | { sources: readonly string[] }): number {
  const sources = 'source' in input ? [input.source, `${input.source}-wal`] : input.sources;
  return sources.reduce((sum, path) => sum + (lstatSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
}

export function createFileWorker(options: FileWorkerOptions): FileWorker {
  const { childrenMax, keptChildren = 0, idleMs = IDLE_MS, timeLimitMsOf = generousMs } = options;
  const { niceness = NICENESS } = options;
  const path = fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url));
  const idle: Child[] = [];
  const all = new Set<Child>();
  const waiting: (() => void)[] = [];
  let closed = false;

  const start = (): Child => {
    const child = fork(path, ['file-jobs'], {
      execArgv: [...process.execArgv, `--max-old-space-size=${CHILD_HEAP_MB}`],
      // No key of the operator's environment goes near a hostile file.
      env: {},
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      serialization: 'json',
    });
    if (child.pid !== undefined) stayBehind(child.pid, niceness);
    const gone = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      // Also what a child that cannot be started, signalled or written to says; unheard, it would end the server.
      child.on('error', () => {
        if (child.pid === undefined) resolve();
        else child.kill('SIGKILL');
      });
    });
    const made: Child = { process: child, idleTimer: null, gone };
    all.add(made);
    void gone.then(() => {
      all.delete(made);
      leaveIdle(made);
      waiting.shift()?.();
    });
    return made;
  };

  const leaveIdle = (child: Child): void => {
    if (child.idleTimer) clearTimeout(child.idleTimer);
    child.idleTimer = null;
    const index = idle.indexOf(child);
    if (index >= 0) idle.splice(index, 1);
  };

  const take = async (): Promise<Child> => {
    for (;;) {
      if (closed) throw shuttingDown();
      const free = idle.at(-1);
      if (free) {
        leaveIdle(free);
        free.process.channel?.ref();
        free.process.ref();
        return free;
      }
      if (all.size < childrenMax) return start();
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };

  const giveBack = (child: Child): void => {
    if (!all.has(child) || child.process.killed) return;
    if (idle.length >= keptChildren) {
      child.idleTimer = setTimeout(() => {
        child.idleTimer = null;
        // The one that was kept may have ended since.
        if (idle.length <= keptChildren) return;
        // First of all out of the others' reach: nobody may be handed a child that is about to end.
        leaveIdle(child);
        child.process.kill('SIGKILL');
      }, idleMs);
      child.idleTimer.unref();
    }
    // An idle child must not keep a program alive that has nothing else to do.
    child.process.unref();
    child.process.channel?.unref();
    idle.push(child);
    waiting.shift()?.();
  };

  if (options.startsKept) {
    try {
      for (let count = 0; count < keptChildren; count += 1) giveBack(start());
    } catch {
      // Whoever has work for it tries again, and hears of it.
    }
  }

  return {
    async run<N extends JobName>(name: N, input: JobInput<N>, timeoutMs: number | null) {
      const child = await take();
      let timedOut = false;
      const limitMs = Math.ceil(timeoutMs ?? timeLimitMsOf(bytesOf(input)));
      const timer = setTimeout(() => {
        timedOut = true;
        child.process.kill('SIGKILL');
      }, limitMs);
      try {
        const reply = await ask(child, { name, input });
        if ('error' in reply) throw toError(reply.error);
        return reply.result as JobResult<N>;
      } catch (error) {
        if (closed) throw shuttingDown();
        throw timedOut ? new JobEndedError('timeout', `it took longer than ${limitMs / 1000} s`) : error;
      } finally {
        clearTimeout(timer);
        giveBack(child);
      }
    },

    async close() {
      closed = true;
      await Promise.all(
        [...all].map(async ({ process: child, gone }) => {
          // An idle one keeps nothing alive, not even a program that only waits for its end.
          child.ref();
          child.kill('SIGKILL');
          await gone;
        }),
      );
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
}

const shuttingDown = (): Fault => new Fault('overloaded', 'The server is shutting down.');

/** Signals by which a process ends that was led astray, or that ran out of its heap. */
const CRASH_SIGNALS = ['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGTRAP', 'SIGFPE'];

/** One job's reply. @throws JobEndedError when the child ends first */
async function ask(child: Child, request: JobRequest): Promise<JobReply> {
  const { process: target } = child;
  let onMessage = (_reply: JobReply): void => {};
  const replied = new Promise<JobReply>((resolve) => {
    onMessage = resolve;
  });
  target.once('message', onMessage);
  target.send(request, (error) => {
    if (error) target.kill('SIGKILL');
  });
  const reply = await Promise.race([replied, child.gone]);
  target.off('message', onMessage);
  if (reply) return reply;
  const { exitCode, signalCode } = target;
  const crashed = signalCode !== null && CRASH_SIGNALS.includes(signalCode);
  throw new JobEndedError(crashed ? 'crash' : 'killed', signalCode ?? `exit code ${exitCode}`);
}

function toError({ message, stack, code, invalid }: Extract<JobReply, { error: unknown }>['error']): Error {
  const revive = (): Error => {
    if (invalid) return new InvalidDatabaseError(message);
    if (code === OLDER_DATABASE) return new OlderDatabaseError(message);
    // Whoever asked reads SQLite's codes as those of its own connections.
    if (code?.startsWith('SQLITE_')) return new Database.SqliteError(message, code);
    return Object.assign(new Error(message), { code });
  };
  const error = revive();
  if (stack !== undefined) error.stack = stack;
  return error;
}
