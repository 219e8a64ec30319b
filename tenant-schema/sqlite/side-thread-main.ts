import { getPriority, setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';

// The beginning of a thread (see `side-thread.ts`): its priority comes before its modules, which take some hundred
// milliseconds to load.

/** What the thread is given. */
export interface ThreadData {
  /** How far it stays behind the event loop where they share a processor, from 0 to 19. Linux only. */
  niceness: number;
}

const { niceness } = workerData as ThreadData;
try {
  // On Linux a thread has a priority of its own, and 0 means the one that asks; elsewhere it would be the process.
  if (process.platform === 'linux' && getPriority(0) < niceness) setPriority(0, niceness);
} catch {
  // As it is, then.
}
await import('./side-steps.ts');
