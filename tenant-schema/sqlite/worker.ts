import { writeFileSync } from 'node:fs';
import { contentDigest } from './content-digest.ts';
import { carryCounters } from './counters.ts';
import { check, type JobMemory, migrateFile, settle, snapshot } from './file-jobs.ts';
import { importFile } from './import-job.ts';
import { InvalidDatabaseError } from './known-schema.ts';
import { glance, integrity } from './looks.ts';
import { plainCopy } from './plain-copy.ts';

/** What a worker can be asked to do. */
export const JOBS = {
  snapshot,
  importFile,
  carryCounters,
  check,
  migrateFile,
  settle,
  glance,
  integrity,
  plainCopy,
  contentDigest,
};
export type JobName = keyof typeof JOBS;
export type JobInput<N extends JobName> = Parameters<(typeof JOBS)[N]>[0];
export type JobResult<N extends JobName> = Awaited<ReturnType<(typeof JOBS)[N]>>;

export interface JobRequest {
  name: JobName;
  input: unknown;
}

export type JobReply =
  /** Without `result` where a job gives nothing back. */
  | { result?: unknown }
  /** `invalid`: the fault is the file's, and the message is for whoever sent it. */
  | { error: { message: string; stack: string | undefined; code: string | null; invalid: boolean } };

// The process's own side. Imported for its types, the file does nothing.
if (process.send !== undefined && process.argv[2] === 'file-jobs') {
  beFirstToGo();
  process.on('disconnect', () => process.exit(0));
  const memory: JobMemory = { schemas: new Map() };
  process.on('message', async ({ name, input }: JobRequest) => {
    process.send?.(await answer(name, input, memory));
  });
}

/** Where memory runs out, the system ends this process rather than the server. */
function beFirstToGo(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000');
  } catch {
    // Not Linux.
  }
}

async function answer(name: JobName, input: unknown, memory: JobMemory): Promise<JobReply> {
  try {
    const job = JOBS[name] as (input: unknown, memory: JobMemory) => Promise<unknown>;
    return { result: await job(input, memory) };
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    const code = error instanceof Error && 'code' in error ? String(error.code) : null;
    return { error: { message, stack, code, invalid: error instanceof InvalidDatabaseError } };
  }
}
