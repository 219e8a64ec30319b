import type { Clock } from '../clock.ts';
import type { LongVerb } from '../engine.ts';
import type { TenantStore } from '../store.ts';
import type { OpenFile } from './side-steps.ts';
import { NotOpenedThereError, type SideThread, ThreadEndedError } from './side-thread.ts';

export type LongResult<V extends LongVerb> = ReturnType<TenantStore[V]>;

/** Verbs that write; who would write meanwhile would stop the event loop until the thread has. */
const WRITING: readonly LongVerb[] = ['pruneLogs'];

/** Where verbs are run that may take long. Two, so that nobody's list waits for what writes. */
export interface LongThreads {
  reading: SideThread;
  writing: SideThread;
}

/** Verbs on one open file that run beside the event loop. */
export interface RunAside {
  /** Settled when no verb writes; null where none does. */
  readonly writing: Promise<void> | null;
  /** @throws what the verb throws; ThreadEndedError and NotOpenedThereError where it has not run, or nobody knows */
  run<V extends LongVerb>(verb: V, args: Parameters<TenantStore[V]>): Promise<LongResult<V>>;
}

/** Whether a verb may be run again, here. */
export const isLeftUndone = (error: unknown): boolean =>
  error instanceof ThreadEndedError || error instanceof NotOpenedThereError;

/** Has the threads run verbs on a file that stays open here meanwhile. */
export function runningIn(threads: LongThreads, file: OpenFile, clock: Clock): RunAside {
  let writing: Promise<void> | null = null;

  const ask = async (verb: LongVerb, args: unknown[]): Promise<unknown> => {
    const thread = WRITING.includes(verb) ? threads.writing : threads.reading;
    const input = { ...file, verb, args, now: clock.now() };
    try {
      return await thread.ask('run', input);
    } catch (error) {
      // Another one begins with the next step. All who waited, at once on the event loop, would stop it for long.
      if (error instanceof ThreadEndedError) return thread.ask('run', input);
      throw error;
    }
  };

  return {
    get writing() {
      return writing;
    },
    async run<V extends LongVerb>(verb: V, args: Parameters<TenantStore[V]>) {
      if (!WRITING.includes(verb)) return (await ask(verb, args)) as LongResult<V>;
      // Nobody waits for a thread that begins, or for what it does for other tenants.
      await threads.writing.ask('ready').catch(() => {});
      while (writing) await writing;
      const ran = ask(verb, args);
      const written = (): void => {
        writing = null;
      };
      writing = ran.then(written, written);
      // It ran this very verb.
      return (await ran) as LongResult<V>;
    },
  };
}
