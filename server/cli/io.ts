import type { Clock } from '../../tenant-schema/clock.ts';
import type { Environment } from '../config.ts';
import type { createServer } from '../server.ts';

/** What the process ends with; documented in `docs/operating.md`. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  someFailed: 5,
  unreachable: 6,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface Output {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

/** The world as a command sees it: the process's own, or a test's. */
export interface Io {
  env: Environment;
  clock: Clock;
  /** How long another process may own the data folder without saying where it listens. */
  lockWaitMs: number;
  /** Asked only where no server runs: a whole one takes its time to load. */
  loadServer(): Promise<{ createServer: typeof createServer }>;
  stdin: NodeJS.ReadableStream & { isTTY?: boolean | undefined };
  stdout: Output;
  stderr: Output;
}

/** Why a command ends, in a line or two for the operator. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;
  /** The server's code for it, where it comes from there. */
  readonly code: string | null;

  constructor(exitCode: ExitCode, message: string, code: string | null = null) {
    super(message);
    this.exitCode = exitCode;
    this.code = code;
  }
}
