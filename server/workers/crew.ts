import { type ChildProcess, fork } from 'node:child_process';
import type { Socket } from 'node:net';
import type { MasterKey } from '../../control-plane/master-key.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { EngineStats } from '../../tenant-schema/engine.ts';
import type { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import type { UsageDay } from '../../tenant-schema/store.ts';
import type { Log } from '../telemetry/log.ts';
import type { Figures } from '../telemetry/metrics.ts';
import { type Channel, openChannel } from './channel.ts';
import { createClaims } from './claims.ts';
import type { ToFirst, ToWorker, WorkerStart } from './questions.ts';
import type { Reservations } from './reservations.ts';

/** The processes that serve requests beside the first one, which owns the folder and does all that is not for a worker. */
export interface Crew {
  /** Resolves when every worker serves. @throws where one ends before it does */
  start(keys: readonly MasterKey[]): Promise<void>;
  /** Gives a connection to the next worker in turn; false where none serves. */
  handOff(socket: Socket): boolean;
  /** Whether a worker of this run is there. */
  isLiveRun(runId: string): boolean;
  /** Runs `work` while no worker has the tenant's file open; all that they know of its usage is noted then. */
  closed<T>(tenantId: string, work: () => Promise<T>): Promise<T>;
  /** Runs `work` while no worker runs a turn of the tenant: those that do end them with `reason` first. */
  paused<T>(tenantId: string, reason: Fault, work: () => Promise<T>): Promise<T>;
  /** Resolves when every worker opens provider keys with these. */
  unlock(keys: readonly MasterKey[]): Promise<void>;
  /** Resolves when all that workers have noted is told or written. */
  flush(): Promise<void>;
  /** The moment up to which every worker has told what it used, in epoch milliseconds; null without workers. */
  toldUntil(): number | null;
  figures(): Promise<Figures[][]>;
  stats(): Promise<EngineStats[]>;
  reloadPrices(): void;
  /** Lets every worker end what it runs; resolves when all have ended. */
  drain(): Promise<void>;
}

export interface CrewParts {
  size: number;
  /** The run of the first process, which takes turns as well where no worker serves. */
  ownRunId: string;
  /** The file that a worker runs, and what it is told at its start. */
  program: string;
  startOf(runId: string): WorkerStart;
  ids: IdMaker;
  clock: Clock;
  log: Pick<Log, 'info' | 'warn' | 'error'>;
  /** Takes what a worker writes to standard error; null: it writes to that of this process. */
  stderr: ((text: string) => void) | null;
  /** A worker that has died is replaced after so long; after each further one within a minute, after twice as long. */
  restartMs: number;
  /** A worker that has not ended so long after it was told to is killed. */
  drainMs: number;
  reservations: Reservations;
  /** Brings a tenant's file to the latest schema. */
  bringUp(tenantId: string): Promise<void>;
  settleRest(tenantId: string): Promise<void>;
  used(tenantId: string, usage: UsageDay): void;
  /** A worker has died: it had told all that turns have used up to `toldUntil`, and its turns are dead. */
  died(toldUntil: number): void;
  /** Workers die as fast as they are started: the server cannot go on. */
  gaveUp(): void;
}

interface Worker {
  runId: string;
  child: ChildProcess;
  channel: Channel<ToWorker>;
  /** Whether it takes part in what the others are asked; then, whether it takes connections. */
  state: 'starting' | 'joined' | 'serving';
  /** See `ToFirst.note`. */
  toldUntil: number;
  figures: Figures[];
  gone: Promise<void>;
}

/** So many deaths within a minute are no accident any more. */
const DEATHS_MAX = 5;
const DEATHS_WITHIN_MS = 60_000;
const RESTART_MS_MAX = 10_000;
/** How long a worker's figures are waited for. */
const PATIENCE_MS = 2_000;
/** A worker that does not let go of a tenant for so long hangs; dead, it has let go. */
const STUCK_MS = 60_000;
/** Two workers that close a file in the same moment both leave its `-wal`: looked at when both must be done. */
const REST_MS = 100;

export function createCrew(parts: CrewParts): Crew {
  const { clock, log } = parts;
  const workers = new Set<Worker>();
  const deaths: number[] = [];
  const retired: Figures[] = [];
  let keys: readonly MasterKey[] = [];
  let phase: 'starting' | 'running' | 'draining' = 'starting';
  let next = 0;

  const joined = (): Worker[] => [...workers].filter(({ state }) => state !== 'starting');
  const askAll = async <Name extends keyof ToWorker>(
    name: Name,
    sent: ToWorker[Name]['sent'],
  ): Promise<ToWorker[Name]['answered'][]> => {
    const answers = await Promise.all(joined().map(({ channel }) => patiently(channel.ask(name, sent))));
    return answers.filter((answer) => answer !== null);
  };
  /** As `ask`, of what must come to an end: a worker that hangs is killed for it. */
  const insist = async <Name extends keyof ToWorker>(
    worker: Worker,
    name: Name,
    sent: ToWorker[Name]['sent'],
  ): Promise<void> => {
    const timer = setTimeout(() => {
      log.error({ pid: worker.child.pid, question: name }, 'a worker hangs and is killed');
      worker.child.kill('SIGKILL');
    }, STUCK_MS);
    try {
      await worker.channel.ask(name, sent);
    } catch (error) {
      // What it could not do, it does not do half.
      log.error({ err: error, question: name }, 'a worker failed to do what it was told');
      worker.child.kill('SIGKILL');
      await worker.gone;
    } finally {
      clearTimeout(timer);
    }
  };
  const insistAll = async <Name extends keyof ToWorker>(
    name: Name,
    sent: ToWorker[Name]['sent'],
  ): Promise<void> => {
    await Promise.all(joined().map((worker) => insist(worker, name, sent)));
  };

  const holds = createClaims(
    (tenantId) => insistAll('hold', { tenantId }),
    (tenantId) => void insistAll('release', { tenantId }),
  );
  const pauses = createClaims<Fault>(
    (tenantId, { code, message }) => insistAll('pause', { tenantId, code, message }),
    (tenantId) => void insistAll('resume', { tenantId }),
  );
  const unlockText = () => ({ keys: keys.map((key) => key.encode()) });
  const liveRuns = () => ({ runIds: [parts.ownRunId, ...[...workers].map(({ runId }) => runId)] });

  const begin = (): Worker => {
    const runId = parts.ids();
    const child = fork(parts.program, ['worker'], {
      stdio: ['ignore', 'inherit', parts.stderr ? 'pipe' : 'inherit', 'ipc'],
      // Keeps buffers, and what is undefined, as they are.
      serialization: 'advanced',
    });
    if (parts.stderr) child.stderr?.setEncoding('utf8').on('data', parts.stderr);
    // Of one that cannot be started or written to: its end says enough.
    child.on('error', (error) => log.error({ err: error }, 'a worker cannot be reached'));
    const channel = openChannel<ToWorker, ToFirst>(child, {
      note({ usage, until }) {
        for (const [tenantId, used] of usage) parts.used(tenantId, used);
        worker.toldUntil = until;
        return null;
      },
      reserve: ({ tenantId, bytes }) => parts.reservations.reserve(worker, tenantId, bytes),
      free({ tenantId, bytes }) {
        parts.reservations.free(worker, tenantId, bytes);
        return null;
      },
      async bringUp({ tenantId }) {
        await parts.bringUp(tenantId);
        return null;
      },
      closedWithRest({ tenantId }) {
        setTimeout(() => {
          parts
            .settleRest(tenantId)
            .catch((error: unknown) => log.warn({ err: error, tenant_id: tenantId }, 'a -wal stays'));
        }, REST_MS).unref();
        return null;
      },
    });
    const gone = new Promise<void>((resolve) => {
      child.once('exit', resolve);
      child.once('error', () => child.pid === undefined && resolve());
    });
    const worker: Worker = {
      runId,
      child,
      channel,
      state: 'starting',
      toldUntil: clock.now(),
      figures: [],
      gone,
    };
    workers.add(worker);
    return worker;
  };

  /** @returns false where it ended first */
  const join = async (worker: Worker): Promise<boolean> => {
    const { channel } = worker;
    if ((await channel.ask('start', parts.startOf(worker.runId))) === null && !isThere(worker)) return false;
    // From here on it is asked what the others are; before, it must know what they know. It has nothing open yet.
    worker.state = 'joined';
    await Promise.all([
      ...holds.claimed().map(([tenantId]) => insist(worker, 'hold', { tenantId })),
      ...pauses
        .claimed()
        .map(([tenantId, { code, message }]) => insist(worker, 'pause', { tenantId, code, message })),
      insist(worker, 'unlock', unlockText()),
      // Those that run turns must know its run before it begins any.
      insistAll('live', liveRuns()),
    ]);
    if (!isThere(worker)) return false;
    worker.state = 'serving';
    log.info({ pid: worker.child.pid }, 'a worker serves');
    return true;
  };
  const isThere = (worker: Worker): boolean => workers.has(worker) && worker.child.connected;

  const add = async (): Promise<boolean> => {
    const worker = begin();
    void worker.gone.then(() => lose(worker));
    try {
      return await join(worker);
    } catch (error) {
      log.error({ err: error }, 'a worker could not be started');
      worker.child.kill('SIGKILL');
      return false;
    }
  };

  const lose = (worker: Worker): void => {
    workers.delete(worker);
    parts.reservations.drop(worker);
    const { exitCode, signalCode, pid } = worker.child;
    if (phase === 'draining' && exitCode === 0) return;
    parts.died(worker.toldUntil);
    if (phase !== 'running') return;
    // What only goes up must not go down because who has counted it has died.
    retired.push(...worker.figures.filter(({ type }) => ONLY_UP.includes(String(type))));
    void insistAll('live', liveRuns());
    const now = clock.monotonic();
    deaths.push(now);
    while ((deaths[0] ?? now) < now - DEATHS_WITHIN_MS) deaths.shift();
    log.error({ pid, code: exitCode, signal: signalCode }, 'a worker died; its turns are aborted');
    if (deaths.length >= DEATHS_MAX) parts.gaveUp();
    else {
      const waitMs = Math.min(parts.restartMs * 2 ** (deaths.length - 1), RESTART_MS_MAX);
      setTimeout(() => {
        if (phase === 'running') void add();
      }, waitMs).unref();
    }
  };

  return {
    async start(present) {
      keys = present;
      const started = await Promise.all(Array.from({ length: parts.size }, add));
      if (started.includes(false) || phase !== 'starting')
        throw new Error('a worker ended before it could serve; the log says why');
      phase = 'running';
    },

    handOff(socket) {
      // While it starts or drains, the first process says so itself, at once and to everybody.
      if (phase !== 'running') return false;
      const serving = [...workers].filter(({ state }) => state === 'serving');
      for (let tried = 0; tried < serving.length; tried += 1) {
        next = (next + 1) % serving.length;
        if (serving[next]?.channel.give(socket)) return true;
      }
      return false;
    },

    isLiveRun: (runId) => [...workers].some((worker) => worker.runId === runId),
    closed: (tenantId, work) => holds.during(tenantId, null, work),
    paused: (tenantId, reason, work) => pauses.during(tenantId, reason, work),

    async unlock(present) {
      keys = present;
      await insistAll('unlock', unlockText());
    },

    async flush() {
      await askAll('flush', null);
    },
    toldUntil: () =>
      workers.size === 0 ? null : Math.min(...[...workers].map(({ toldUntil }) => toldUntil)),

    async figures() {
      await Promise.all(
        joined().map(async (worker) => {
          worker.figures = (await patiently(worker.channel.ask('figures', null))) ?? worker.figures;
        }),
      );
      return [...joined().map(({ figures }) => figures), retired];
    },
    stats: () => askAll('stats', null),

    reloadPrices: () => void askAll('reloadPrices', null),

    async drain() {
      phase = 'draining';
      const timer = setTimeout(() => {
        for (const { child } of workers) child.kill('SIGKILL');
      }, parts.drainMs);
      const all = [...workers];
      await Promise.all(
        all.map(async ({ channel, child, gone, state }) => {
          if (state === 'starting') child.kill('SIGKILL');
          else await channel.ask('drain', null).catch(() => child.kill('SIGKILL'));
          await gone;
        }),
      );
      clearTimeout(timer);
    },
  };
}

const ONLY_UP = ['counter', 'histogram'];

/** Null where it takes too long: whoever is busy must not keep back what the others answer. */
async function patiently<T>(answer: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), PATIENCE_MS);
  });
  try {
    return await Promise.race([answer, late]);
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}
