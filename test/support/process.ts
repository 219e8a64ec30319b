import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface ServerProcess {
  /** Where it listens. */
  url: string;
  child: ChildProcess;
  /** Everything it has written to standard output and standard error so far. */
  output(): string;
  /** Sends a signal and waits for the end; gives the exit code, null where the signal ended it. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

export interface ProcessOptions {
  /** Default: the server from its sources. */
  command?: [string, ...string[]];
  cwd?: string;
  /** True signals the whole process group, as Ctrl-C in a terminal does. */
  group?: boolean;
  env?: Record<string, string>;
}

/** A process of ours with everything it says. */
export function startProcess(options: ProcessOptions): { child: ChildProcess; output(): string } {
  const [command, ...args] = options.command ?? [process.execPath, '--import', 'tsx', 'server/main.ts'];
  // Nothing of the settings of whoever runs the tests, keys above all.
  const { PATH = '', HOME = '', npm_config_nodedir } = process.env;
  const child = spawn(command, args, {
    cwd: options.cwd ?? ROOT,
    env: { PATH, HOME, ...(npm_config_nodedir && { npm_config_nodedir }), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: options.group ?? false,
  });
  let output = '';
  const append = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout.on('data', append);
  child.stderr.on('data', append);
  return { child, output: () => output };
}

/** Runs the whole server as a process of its own and waits until it listens. The caller ends it. */
export async function startServerProcess(options: ProcessOptions): Promise<ServerProcess> {
  const { child, output } = startProcess(options);
  const url = await new Promise<string>((resolve, reject) => {
    const look = (): void => {
      const found = /listening on (http:\S+)/.exec(output());
      if (found?.[1]) resolve(found[1]);
    };
    child.stdout?.on('data', look);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${output()}`)));
  });
  return {
    url,
    child,
    output,
    async end(signal) {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const exited = once(child, 'exit');
      if (options.group && child.pid !== undefined) process.kill(-child.pid, signal);
      else child.kill(signal);
      const [code] = await exited;
      return code as number | null;
    },
  };
}
