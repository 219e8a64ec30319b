import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { TokenHasher } from '../../control-plane/admin-tokens.ts';
import { openControlPlane } from '../../control-plane/control-plane.ts';
import { CONTROL_APPLICATION_ID, controlMigrations } from '../../control-plane/migrations.ts';
import type { Actor, ControlPlane, NewTenant, SessionLimits } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import { createIds, type IdMaker } from '../../tenant-schema/ids.ts';
import { migrate } from '../../tenant-schema/sqlite/migrator.ts';

export const ADMIN: Actor = { id: 'admin-1', name: 'Ada', requestId: 'req-1' };

/** A clock that only moves when it is told to. */
export interface FakeClock extends Clock {
  pass(ms: number): void;
}

/** Makes a control.db as a release at this schema version has left it. */
export function makeEarlier(path: string, version: number, sql: string): void {
  const db = new Database(path);
  try {
    const migrations = { latest: version, steps: controlMigrations.steps.slice(0, version) };
    migrate(db, { applicationId: CONTROL_APPLICATION_ID, migrations, now: 0 });
    db.exec(sql);
  } finally {
    db.close();
  }
}

export interface Fixture {
  control: ControlPlane;
  folder: string;
  path: string;
  clock: FakeClock;
  ids: IdMaker;
  addTenant(tenant?: Partial<NewTenant>): ReturnType<ControlPlane['addTenant']>;
  /** Runs SQL on a connection of its own, as an operator with the sqlite3 shell would. */
  sql(text: string, ...values: unknown[]): unknown[];
  /** Another process on the same file. The caller closes it. */
  another(): ControlPlane;
  reopen(): void;
  remove(): void;
}

/** A control plane over a real file in a folder of its own. */
export function createFixture(tokenHasher?: TokenHasher, sessionLimits?: SessionLimits): Fixture {
  const folder = mkdtempSync(join(tmpdir(), 'control-'));
  const path = join(folder, 'control.db');
  let nowMs = Date.UTC(2026, 0, 1);
  const clock: FakeClock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    pass: (ms) => {
      nowMs += ms;
    },
  };
  const ids = createIds(clock);
  const open = () =>
    openControlPlane({
      ...{ path, clock, ids },
      ...(tokenHasher && { tokenHasher }),
      ...(sessionLimits && { sessionLimits }),
    });
  const fixture: Fixture = {
    control: open(),
    folder,
    path,
    clock,
    ids,
    addTenant: (tenant) => fixture.control.addTenant(ids(), { name: 'Acme', ...tenant }, ADMIN),
    sql: (text, ...values) => {
      const db = new Database(path);
      try {
        const statement = db.prepare(text);
        if (statement.reader) return statement.all(...values);
        statement.run(...values);
        return [];
      } finally {
        db.close();
      }
    },
    another: open,
    reopen: () => {
      fixture.control.close();
      fixture.control = open();
    },
    remove: () => {
      fixture.control.close();
      rmSync(folder, { recursive: true });
    },
  };
  return fixture;
}

/** The fault that `work` throws, in a form to compare. */
export function faultOf(work: () => unknown): { code: unknown; message: string } {
  try {
    work();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('No fault was thrown.');
}
