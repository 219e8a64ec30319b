import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InvalidDatabaseError } from './known-schema.ts';
import type { JobInput, JobName, JobReply, JobRequest, JobResult } from './worker.ts';

/** Runs long work on files in child processes, so that the event loop and the server's heap are left alone. */
export interface FileWorker {
  /**
   * @param timeoutMs the child is killed when it takes longer; null lets it take its time.
   * @throws InvalidDatabaseError where the fault is the file's, else an `Error`
   */
  run<N extends JobName>(name: N, input: JobInput<N>, timeoutMs: number | null): Promise<JobResult<N>>;
  /** Kills what runs. */
  close(): Promise<void>;
}

/** A child that has nothing to do is ended after this time. */
const IDLE_MS = 5_000;
/** A hostile file may make SQLite or our checks allocate; the child's heap is bounded apart from the server's. */
const CHILD_HEAP_MB = 1024;

interface Child {
  process: ChildProcess;
  idleTimer: NodeJS.Timeout | null;
}

export function createFileWorker(options: { childrenMax: number }): FileWorker {
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
    const made: Child = { process: child, idleTimer: null };
    all.add(made);
    child.once('exit', () => {
      all.delete(made);
      if (made.idleTimer) clearTimeout(made.idleTimer);
      const index = idle.indexOf(made);
      if (index >= 0) idle.splice(index, 1);
      waiting.shift()?.();
    });
    return made;
  };

  const take = async (): Promise<Child> => {
    for (;;) {
      if (closed) throw new Error('The file worker is closed.');
      const free = idle.pop();
      if (free) {
        if (free.idleTimer) clearTimeout(free.idleTimer);
        free.process.channel?.ref();
        free.process.ref();
        return free;
      }
      if (all.size < options.childrenMax) return start();
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };

  const giveBack = (child: Child): void => {
    if (!all.has(child) || child.process.killed) return;
    child.idleTimer = setTimeout(() => child.process.kill('SIGKILL'), IDLE_MS);
    child.idleTimer.unref();
    // An idle child must not keep a program alive that has nothing else to do.
    child.process.unref();
    child.process.channel?.unref();
    idle.push(child);
    waiting.shift()?.();
  };

  return {
    async run<N extends JobName>(name: N, input: JobInput<N>, timeoutMs: number | null) {
      const child = await take();
      const over = timeoutMs === null ? null : setTimeout(() => child.process.kill('SIGKILL'), timeoutMs);
      try {
        const reply = await ask(child.process, { name, input });
        if ('result' in reply) return reply.result as JobResult<N>;
        const { message, stack, invalid } = reply.error;
        throw Object.assign(invalid ? new InvalidDatabaseError(message) : new Error(message), { stack });
      } finally {
        if (over) clearTimeout(over);
        giveBack(child);
      }
    },

    async close() {
      closed = true;
      await Promise.all(
        [...all].map(async ({ process: child }) => {
          const exited = once(child, 'exit');
          child.kill('SIGKILL');
          await exited;
        }),
      );
      for (const resolve of waiting.splice(0)) resolve();
    },
  };
}

/** One job's reply. @throws when the child ends first, be it by its time limit. */
function ask(child: ChildProcess, request: JobRequest): Promise<JobReply> {
  return new Promise((resolve, reject) => {
    const onMessage = (reply: JobReply): void => {
      child.off('exit', onExit);
      resolve(reply);
    };
    const onExit = (code: number | null, signal: string | null): void => {
      child.off('message', onMessage);
      reject(new Error(`The work on the file was ended (${signal ?? `exit code ${code}`}).`));
    };
    child.once('message', onMessage);
    child.once('exit', onExit);
    child.send(request, (error) => {
      if (error) child.kill('SIGKILL');
    });
  });
}
