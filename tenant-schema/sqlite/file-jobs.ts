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
  requireLatest,
  requireOurs,
  requireOwner,
  type SchemaCache,
} from './known-schema.ts';
import { openForLook } from './looks.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import { type Migrations, migrate } from './migrator.ts';
import { copyPaced } from './paced-copy.ts';
import { closeOpenTurns, createPrivate, requireRegularFile, withSingleFile } from './single-file.ts';

// The long work on whole files. Runs in a child process (see `worker.ts`): niced, killable, off the event loop.

/** What every job knows: the migrations of the program that asked. */
interface JobBase {
  migrations: Migrations;
}

/** What a process keeps from one job to the next. */
export interface JobMemory {
  schemas: SchemaCache;
}

/** From so many bytes on, a copy is made so that others do not notice; a small one is over before they would. */
const PACED_BYTES_MIN = 16 * 1024 * 1024;

/**
 * Copies a tenant's file, as of one moment, into the new file `target`: compact, checked, and on the disk when this
 * resolves. The source may be open and written to elsewhere. Open turns are closed as aborted, but in a file of an
 * older schema, which the verbs of this program do not know: there they are closed when it is opened or imported.
 * @param job.owner copies the file only where it is this tenant's and of the latest schema; null copies it as it is.
 * @param job.as gives the copy to another tenant, without the counters of this one.
 * @throws OlderDatabaseError where there is an owner and the schema is an older one; nothing was done then
 */
export async function snapshot(
  job: JobBase & { source: string; target: string; owner: string | null; as: TenantName | null },
  memory: JobMemory,
): Promise<FileReport> {
  requireRegularFile(job.source);
  const source = openDatabase(job.source, {
    mustExist: true,
    synchronous: 'NORMAL',
    accept: (file) => requireOurs(file, job.migrations),
  });
  try {
    if (job.owner !== null) {
      requireLatest(source, job.migrations);
      requireOwner(source, job.owner);
    }
    createPrivate(job.target);
    // A file of an early release has pages that cannot be given back one by one; its copies have not. Only asked for
    // where it changes nothing in the source: SQLite would write the setting into a file that has it already.
    if (source.pragma('auto_vacuum', { simple: true }) === 0) source.pragma('auto_vacuum = INCREMENTAL');
    // A file as it is, is one that its tenant waits for.
    if (job.owner === null || lstatSync(job.source).size < PACED_BYTES_MIN) {
      source.prepare('VACUUM INTO ?').run(job.target);
    } else {
      requireKnownSchema(source, job.migrations, { ...memory, statistics: 'allowed' });
      copyPaced(job.source, job.target);
    }
  } finally {
    source.close();
  }
  return withSingleFile(job.target, (db) => {
    dropStatistics(db);
    const version = requireKnownSchema(db, job.migrations, memory);
    if (job.as) db.prepare('UPDATE tenant SET id = ?, name = ?').run(job.as.id, job.as.name);
    if (version === job.migrations.latest) {
      closeOpenTurns(db);
      if (job.as) clearCounters(db);
    }
    requireIntegrity(db);
  });
}

const versionOf = (db: Database.Database): number => Number(db.pragma('user_version', { simple: true }));

/** Looks at a file without changing it. */
export async function check(job: JobBase & { source: string }, memory: JobMemory): Promise<CheckReport> {
  const report: CheckReport = { tenant: null, schemaVersion: null, sizeBytes: 0, problem: null };
  let db: Database.Database | undefined;
  try {
    report.sizeBytes = lstatSync(job.source).size;
    requireRegularFile(job.source);
    db = openForLook(job.source);
    report.schemaVersion = versionOf(db);
    requireKnownSchema(db, job.migrations, { statistics: 'allowed', ...memory });
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
 * @param job.owner whose file it must be.
 * @param job.mayRewrite false leaves a file alone whose tables would be rewritten.
 */
export async function migrateFile(
  job: JobBase & { source: string; owner: string; mayRewrite: boolean },
): Promise<Migrated> {
  requireRegularFile(job.source);
  const { latest, steps } = job.migrations;
  const db = openDatabase(job.source, {
    mustExist: true,
    synchronous: 'FULL',
    accept: (file) => requireOurs(file, job.migrations),
  });
  try {
    requireOwner(db, job.owner);
    const from = versionOf(db);
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
