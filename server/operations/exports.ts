import { join } from 'node:path';
import type { Actor, ControlPlane } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { removeFile } from '../../tenant-schema/remove-file.ts';
import { type Disk, filling } from './disk.ts';

/** A finished copy of a tenant's data, to be sent from the disk: nothing of the tenant is held meanwhile. */
export interface Export {
  path: string;
  tenantName: string;
  createdAt: number;
  sizeBytes: number;
  /** Hexadecimal. */
  sha256: string;
  /** Aborted, with the fault, where the tenant is purged: no more of it may be sent. */
  signal: AbortSignal;
  /** Removes the file and lets the next export of this tenant begin. To be called once it is sent, or given up. */
  release(): Promise<void>;
}

export interface Exports {
  /**
   * Copies the tenant's data into a file of its own.
   * @throws `concurrency_limited` while another export of this tenant is made or sent
   */
  create(tenantId: string, actor: Actor): Promise<Export>;
  /** Ends the tenant's export, if one is made or sent; nothing of it is left when this resolves. */
  abort(tenantId: string): Promise<void>;
}

interface UnderWay {
  abort: AbortController;
  over: Promise<void>;
}

export interface ExportParts {
  control: ControlPlane;
  engine: TenantEngine;
  clock: Clock;
  ids: IdMaker;
  disk: Disk;
  /** A folder whose content is of no use after a restart. */
  tmpFolder: string;
}

const RETRY_SECONDS = 10;

export function createExports(parts: ExportParts): Exports {
  const { control, engine, ids } = parts;
  const underWay = new Map<string, UnderWay>();

  return {
    async create(tenantId, actor) {
      const { id, name } = control.getTenant(tenantId);
      if (underWay.has(id)) {
        throw new Fault('concurrency_limited', 'Another export of this tenant is under way.', {
          details: { retryAfterSeconds: RETRY_SECONDS },
        });
      }
      const abort = new AbortController();
      let end = (): void => {};
      underWay.set(id, { abort, over: new Promise((resolve) => (end = resolve)) });
      const exportId = ids();
      const path = join(parts.tmpFolder, `${exportId}.export`);
      const release = async (): Promise<void> => {
        try {
          await removeFile(path);
        } finally {
          underWay.delete(id);
          end();
        }
      };
      try {
        const createdAt = parts.clock.now();
        const { sizeBytes: present } = await engine.stat(id).catch(() => ({ sizeBytes: 0 }));
        const { sizeBytes, sha256 } = await parts.disk.reserving(present, () =>
          filling(() => engine.snapshot(id, path)),
        );
        abort.signal.throwIfAborted();
        const changes = { size_bytes: sizeBytes, sha256 };
        control.recordFileEvent(
          { action: 'tenant.export', tenantId: id, targetId: exportId, changes },
          actor,
        );
        return { path, tenantName: name, createdAt, sizeBytes, sha256, signal: abort.signal, release };
      } catch (error) {
        await release();
        throw error;
      }
    },

    async abort(tenantId) {
      const found = underWay.get(tenantId);
      found?.abort.abort(new Fault('tenant_unavailable', 'This tenant was deleted.'));
      await found?.over;
    },
  };
}
