import { PassThrough } from 'node:stream';
import { runCli } from '../../server/cli/cli.ts';
import type { Io } from '../../server/cli/io.ts';
import { createServer } from '../../server/server.ts';
import { systemClock } from '../../tenant-schema/clock.ts';
import type { Json } from './http.ts';

export interface CliResult {
  code: number;
  stdout: string;
  stderr: string;
  /** Standard output as JSON. */
  json: Json;
}

export interface CliOptions {
  env?: Record<string, string>;
  /** What is typed; there is a terminal then. */
  typed?: string;
  /** The width of the terminal that standard output is; none by default. */
  columns?: number;
  /** Standard error is a terminal, and this is told what is written there. */
  onScreen?(text: string): void;
}

/** Runs one command in this process. */
export async function cli(argv: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  const stdin = new PassThrough();
  stdin.end(options.typed ?? '');
  const io: Io = {
    env: options.env ?? {},
    clock: systemClock,
    lockWaitMs: 0,
    loadServer: async () => ({ createServer }),
    stdin: Object.assign(stdin, { isTTY: options.typed !== undefined }),
    stdout: {
      write: (text) => {
        stdout += text;
      },
      isTTY: options.columns !== undefined,
      columns: options.columns,
    },
    stderr: {
      write: (text) => {
        stderr += text;
        options.onScreen?.(text);
      },
      isTTY: options.onScreen !== undefined,
    },
  };
  const code = await runCli(argv, io);
  return {
    code,
    stdout,
    stderr,
    get json() {
      return JSON.parse(stdout) as Json;
    },
  };
}
