import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface StartOptions {
  /** A list such as `0` or `1-3`; null lets the system choose. */
  cpus: string | null;
  env?: Record<string, string>;
  /** Loads `probe.mjs` into it, for `Bench.probe`. */
  probed?: boolean;
}

/** The processes and folders of one benchmark; what it made is gone when it ends, however it ends. */
export interface Bench {
  /** A new folder beside the system's other temporary ones. */
  folder: string;
  /** Starts a file of `bench/lib` and gives a way to ask it. */
  worker(file: string, options: StartOptions): Worker;
  /** Starts the compiled server and resolves when it listens. */
  server(options: StartOptions & { main?: string | undefined }): Promise<Listening>;
  /** Starts another program, by what node is told; resolves when it has said `listening on`, a space and its address. */
  program(args: string[], options: StartOptions): Promise<Listening>;
  /** Asks a process that was started with `probed`. */
  probe(pid: number): Promise<Probe>;
  /** Ends one process and waits for that. */
  stop(pid: number): Promise<void>;
  /** Ends every process, waits for that, and removes the folder. */
  end(): Promise<void>;
}

/** A server that runs. */
export interface Listening {
  url: string;
  pid: number;
}

export interface Probe {
  /** Since the last time: how late the event loop was, but for one in a hundred of its looks at the clock. */
  loopDelayP99Ms: number;
  residentBytes: number;
  /** What the program keeps, after a garbage collection. */
  heldBytes: number;
}

/** A process that answers one message at a time. */
export interface Worker {
  pid: number;
  /** @throws Error with what the process said, or when it ends first. */
  ask<Reply>(request: object): Promise<Reply>;
}

/** What a worker sends back. */
export type Reply = { result: unknown } | { error: string };

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROBE = fileURLToPath(new URL('./probe.mjs', import.meta.url));
const END_MS_MAX = 20_000;

export function startBench(): Bench {
  const folder = mkdtempSync(join(tmpdir(), 'nimblesite-bench-'));
  const children: ChildProcess[] = [];
  const hasTaskset = spawnSync('taskset', ['-V']).status === 0;

  const start = (args: string[], options: StartOptions, ipc: boolean): ChildProcess => {
    const command = [process.execPath, ...(options.probed ? ['--import', PROBE] : []), ...args];
    if (options.cpus !== null && hasTaskset) command.unshift('taskset', '-c', options.cpus);
    const [program = process.execPath, ...rest] = command;
    // Nothing of the settings of whoever runs this, keys above all.
    const { PATH = '', HOME = '' } = process.env;
    const child = spawn(program, rest, {
      cwd: ROOT,
      env: { PATH, HOME, ...options.env },
      stdio: ['ignore', 'pipe', 'inherit', ...(ipc ? (['ipc'] as const) : [])],
    });
    children.push(child);
    return child;
  };

  return {
    folder,

    worker(file, options) {
      const path = fileURLToPath(new URL(`./${file}`, import.meta.url));
      const child = start(['--import', 'tsx', path], options, true);
      child.stdout?.resume();
      const ended = once(child, 'exit').then(([code, signal]): Reply => {
        return { error: `${file} ended with ${code ?? signal}` };
      });
      return {
        pid: child.pid ?? -1,
        async ask<T>(request: object) {
          const answered = once(child, 'message').then(([reply]) => reply as Reply);
          child.send(request);
          const reply = await Promise.race([answered, ended]);
          if ('error' in reply) throw new Error(reply.error);
          return reply.result as T;
        },
      };
    },

    server: (options) => listening(start([options.main ?? 'dist/server/main.js'], options, false)),
    program: (args, options) => listening(start(args, options, false)),

    async probe(pid) {
      const child = children.find((each) => each.pid === pid);
      if (!child?.stdout) throw new Error(`There is no process ${pid}.`);
      const { stdout } = child;
      return new Promise((resolve) => {
        let output = '';
        const read = (chunk: Buffer): void => {
          output += chunk.toString();
          const found = /probe (\{.*\})\n/.exec(output)?.[1];
          if (found === undefined) return;
          stdout.off('data', read);
          resolve(JSON.parse(found) as Probe);
        };
        stdout.on('data', read);
        child.kill('SIGUSR2');
      });
    },

    async stop(pid) {
      const child = children.find((each) => each.pid === pid);
      if (child) await stop(child);
    },

    async end() {
      await Promise.all(children.map(stop));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
  await gone;
  clearTimeout(late);
}

function listening(child: ChildProcess): Promise<Listening> {
  let output = '';
  return new Promise((resolve, reject) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      const url = /listening on (http:\S+)/.exec(output)?.[1];
      if (url) resolve({ url, pid: child.pid ?? -1 });
    });
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${output}`)));
  });
}

/** A worker's own side: answers each message with what `work` makes of it, until the bench is gone. */
export function answerWith<Request>(work: (request: Request) => Promise<unknown>): void {
  process.on('disconnect', () => process.exit(0));
  process.on('message', async (request: Request) => {
    const reply: Reply = await work(request).then(
      (result) => ({ result }),
      (error: unknown) => ({
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      }),
    );
    process.send?.(reply);
  });
}

/** Runs a benchmark and cleans up after it, also where it fails or is interrupted. */
export async function runBench(work: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = startBench();
  const interrupted = new Promise<never>((_resolve, reject) => {
    const stop = (): void => reject(new Error('interrupted'));
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
  });
  try {
    await Promise.race([work(bench), interrupted]);
  } finally {
    await bench.end();
  }
}
