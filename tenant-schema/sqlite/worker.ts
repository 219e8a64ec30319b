import { setPriority } from 'node:os';
import { check, importFile, migrateFile, snapshot } from './file-jobs.ts';
import { InvalidDatabaseError } from './known-schema.ts';

/** What a worker can be asked to do. */
export const JOBS = { snapshot, importFile, check, migrateFile };
export type JobName = keyof typeof JOBS;
export type JobInput<N extends JobName> = Parameters<(typeof JOBS)[N]>[0];
export type JobResult<N extends JobName> = Awaited<ReturnType<(typeof JOBS)[N]>>;

export interface JobRequest {
  name: JobName;
  input: unknown;
}

export type JobReply =
  | { result: unknown }
  /** `invalid`: the fault is the file's, and the message is for whoever sent it. */
  | { error: { message: string; stack: string | undefined; invalid: boolean } };

/** Behind the server's own work by so much. */
const NICENESS = 10;

// The process's own side. Imported for its types, the file does nothing.
if (process.send !== undefined && process.argv[2] === 'file-jobs') {
  setPriority(NICENESS);
  process.on('disconnect', () => process.exit(0));
  process.on('message', async ({ name, input }: JobRequest) => {
    process.send?.(await answer(name, input));
  });
}

async function answer(name: JobName, input: unknown): Promise<JobReply> {
  try {
    const job = JOBS[name] as (input: unknown) => Promise<unknown>;
    return { result: await job(input) };
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    return { error: { message, stack, invalid: error instanceof InvalidDatabaseError } };
  }
}
