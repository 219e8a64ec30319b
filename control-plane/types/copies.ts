import type { FileReport } from '../../tenant-schema/engine.ts';

/** What a finished copy of control.db is. */
export interface ControlCopy extends FileReport {
  /** Hexadecimal, over all that it holds, except for what the audit says of backups: else each would call for the next. */
  contentSha256: string;
}

/** control.db as a file. */
export interface CopyVerbs {
  /**
   * Copies control.db, as of one moment and checked, into the new file `target`, off the event loop. On the disk when
   * this resolves; the caller removes what is left where it throws.
   */
  snapshot(target: string): Promise<ControlCopy>;
  /**
   * Lets `work` make new copies of earlier ones, as `snapshot` does, without the rows and names of these tenants.
   */
  copyWithout(
    tenantIds: readonly string[],
    work: (copy: (source: string, target: string) => Promise<FileReport>) => Promise<void>,
  ): Promise<void>;
  /** What is wrong with control.db, off the event loop; null where it is sound. */
  check(): Promise<string | null>;
}
