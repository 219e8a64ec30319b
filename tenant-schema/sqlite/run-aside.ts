import type { Clock } from '../clock.ts';
import type { LongVerb } from '../engine.ts';
import type { TenantStore } from '../store.ts';
import type { SideThread } from './side-thread.ts';

export type LongResult<V extends LongVerb> = ReturnType<TenantStore[V]>;

/** Verbs on one open file that run beside the event loop. */
export interface RunAside {
  /** Settled when no verb writes; null where none does. Who would write meanwhile would stop the event loop until then. */
  readonly writing: Promise<void> | null;
  /** @throws what the verb throws; ThreadEndedError */
  run<V extends LongVerb>(verb: V, args: Parameters<TenantStore[V]>): Promise<LongResult<V>>;
}

/** Has the thread run verbs on the file at `path`, which stays open here meanwhile. */
export function runningIn(thread: SideThread, path: string, clock: Clock): RunAside {
  let writing: Promise<void> | null = null;
  return {
    get writing() {
      return writing;
    },
    async run<V extends LongVerb>(verb: V, args: Parameters<TenantStore[V]>) {
      while (writing) await writing;
      const ran = thread.ask('run', { path, verb, args, now: clock.now() });
      if (verb === 'pruneLogs') {
        const written = (): void => {
          writing = null;
        };
        writing = ran.then(written, written);
      }
      // It ran this very verb.
      return (await ran) as LongResult<V>;
    },
  };
}
