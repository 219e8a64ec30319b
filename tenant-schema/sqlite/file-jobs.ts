import { lstatSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { systemClock } from '../clock.ts';
import type { CheckReport, FileReport, TenantName } from '../engine.ts';
import { closeDatabase, openDatabase, settleDatabase } from './connection.ts';
import { clearCounters } from './counters.ts';
import {
  dropStatistics,
  InvalidDatabaseError,
  requireIntegrity,
  requireKnownSchema,
  requireOurs,
} from './known-schema.ts';
import { openForLook } from './looks.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import { type Migrations, migrate } from './migrator.ts';
import { closeOpenTurns, createPrivate, requireRegularFile, withSingleFile } from './single-file.ts';

// The long work on whole files. Runs in a child process (see `worker.ts`): niced, killable, off the event loop.

/** What every job knows: the migrations of the program that asked. */
interface JobBase {
  migrations: Migrations;
}

/**
 * Copies a tenant's file, as of one moment, into the new file `target`: compact, checked, and on the disk when this
 * resolves. The source may be open and written to elsewhere. Open turns are closed as aborted, but in a file of an
 * older schema, which the verbs of this program do not know: there they are closed when it is opened or imported.
 * @param job.as gives the copy to another tenant, without the counters of this one.
 */
export async function snapshot(
  job: JobBase & { source: string; target: string; as: TenantName | null },
): Promise<FileReport> {
  requireRegularFile(job.source);
  createPrivate(job.target);
  const source = openDatabase(job.source, {
    mustExist: true,
    synchronous: 'NORMAL',
    accept: (file) => requireOurs(file, job.migrations),
  });
  try {
    // A file of an early release has pages that cannot be given back one by one; its copies have not. Only asked for
    // where it changes nothing in the source: SQLite would write the setting into a file that has it already.
    if (source.pragma('auto_vacuum', { simple: true }) === 0) source.pragma('auto_vacuum = INCREMENTAL');
    source.prepare('VACUUM INTO ?').run(job.target);
  } finally {
    source.close();
  }
  return withSingleFile(job.target, (db) => {
    dropStatistics(db);
    const version = requireKnownSchema(db, job.migrations);
    if (job.as) db.prepare('UPDATE tenant SET id = ?, name = ?').run(job.as.id, job.as.name);
    if (version === job.migrations.latest) {
      closeOpenTurns(db);
      if (job.as) clearCounters(db);
    }
    requireIntegrity(db);
  });
}

/** Looks at a file without changing it. */
export async function check(job: JobBase & { source: string }): Promise<CheckReport> {
  const report: CheckReport = { tenant: null, schemaVersion: null, sizeBytes: 0, problem: null };
  let db: Database.Database | undefined;
  try {
    report.sizeBytes = lstatSync(job.source).size;
    requireRegularFile(job.source);
    db = openForLook(job.source);
    report.schemaVersion = Number(db.pragma('user_version', { simple: true }));
    requireKnownSchema(db, job.migrations, { statistics: 'allowed' });
    const [tenant, ...others] = db.prepare<[], TenantName>('SELECT id, name FROM tenant LIMIT 2').all();
    report.tenant = tenant ?? null;
    if (!tenant || others.length > 0) throw new InvalidDatabaseError('It does not name one tenant.');
    requireIntegrity(db);
  } catch (error) {
    report.problem = error instanceof Error ? error.message : String(error);
  } finally {
    db?.close();
  }
  return report;
}

/** Where `copyFirst` is true, nothing was done. */
export interface Migrated {
  from: number;
  to: number;
  copyFirst: boolean;
}

/**
 * Brings a file that no server has open to the latest schema.
 * @param job.mayRewrite false leaves a file alone whose tables would be rewritten.
 */
export async function migrateFile(job: JobBase & { source: string; mayRewrite: boolean }): Promise<Migrated> {
  requireRegularFile(job.source);
  const { latest, steps } = job.migrations;
  const db = openDatabase(job.source, {
    mustExist: true,
    synchronous: 'FULL',
    accept: (file) => requireOurs(file, job.migrations),
  });
  try {
    const from = Number(db.pragma('user_version', { simple: true }));
    if (!job.mayRewrite && steps.slice(from).some(({ rewritesTables }) => rewritesTables)) {
      return { from, to: latest, copyFirst: true };
    }
    const done = migrate(db, {
      applicationId: TENANT_APPLICATION_ID,
      migrations: job.migrations,
      now: systemClock.now(),
    });
    return { ...done, copyFirst: false };
  } finally {
    closeDatabase(db);
  }
}

/** Brings what a crash left in a `-wal` or a journal into a file that no server has open. */
export async function settle(job: { source: string }): Promise<void> {
  requireRegularFile(job.source);
  settleDatabase(job.source);
}
