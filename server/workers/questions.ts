import type { EngineStats } from '../../tenant-schema/engine.ts';
import type { FaultCode } from '../../tenant-schema/fault.ts';
import type { UsageDay } from '../../tenant-schema/store.ts';
import type { Figures } from '../telemetry/metrics.ts';

/** What a worker is told before it does anything. */
export interface WorkerStart {
  /** The settings, as the first process has read them. */
  config: object;
  /** Names it in the turns that it begins. */
  runId: string;
  /** Proves to commands whose server this is. */
  runSecret: string;
  /** Where the first process answers what is not for a worker. */
  socketPath: string;
}

/** What the first process asks a worker. */
export type ToWorker = {
  /** Answered when it can serve. */
  start: { sent: WorkerStart; answered: null };
  /** The runs whose turns are alive. Where one is gone, files are opened anew, so that its turns are closed. */
  live: { sent: { runIds: string[] }; answered: null };
  /** Answered when the tenant's file is closed, and all that was used of it is told; it stays so until `release`. */
  hold: { sent: { tenantId: string }; answered: null };
  release: { sent: { tenantId: string }; answered: null };
  /** Answered when no turn of the tenant runs, and none begins until `resume`. */
  pause: { sent: { tenantId: string; code: FaultCode; message: string }; answered: null };
  resume: { sent: { tenantId: string }; answered: null };
  /** Master keys as text, the one in force first. */
  unlock: { sent: { keys: string[] }; answered: null };
  /** Answered when all that it has noted is told or written. */
  flush: { sent: null; answered: null };
  figures: { sent: null; answered: Figures[] };
  stats: { sent: null; answered: EngineStats };
  reloadPrices: { sent: null; answered: null };
  /** Answered when nothing runs and every file is closed; it ends then. */
  drain: { sent: null; answered: null };
};

/** What a worker asks the first process. */
export type ToFirst = {
  /** All that turns have used up to a moment, in epoch milliseconds, and that was not told yet. */
  note: { sent: { usage: [tenantId: string, usage: UsageDay][]; until: number }; answered: null };
  /** Room that a turn will need in a tenant's file; answered with what all processes have reserved there. */
  reserve: { sent: { tenantId: string; bytes: number }; answered: number };
  free: { sent: { tenantId: string; bytes: number }; answered: null };
  /** Answered when the tenant's file is at the latest schema. */
  bringUp: { sent: { tenantId: string }; answered: null };
  /** It has closed the file, and a `-wal` is left. */
  closedWithRest: { sent: { tenantId: string }; answered: null };
};
