import { copyFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import { systemClock } from '../clock.ts';
import { requireKnownSchema } from './known-schema.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';
import { type Migrations, migrate } from './migrator.ts';
import { inSingleFile } from './single-file.ts';

// What a tenant has used of its limits. It belongs to the tenant and not to its data: another tenant's copy begins
// without it, and older data that are put back do not give back what was spent since.

/** For a copy that becomes another tenant's. */
export function clearCounters(db: Database.Database): void {
  db.exec(`
    DELETE FROM admissions;
    -- As if they had been kept, and there were none: the turns in the log are not looked through for them.
    UPDATE admission_state SET recording = 1, tokens = 0;
    DELETE FROM spend;
    DELETE FROM idempotency;
  `);
  // Answers may have been long.
  db.pragma('incremental_vacuum');
}

/**
 * Puts the spend and the rolling minute of a tenant's file in the place of those in another, where `source` is a whole
 * copy of a file of ours; all others leave what is there. Nobody else has either open.
 * @param job.scratch a path for a private copy of the source, removed by the caller.
 */
export async function carryCounters(job: {
  source: string;
  scratch: string;
  target: string;
  migrations: Migrations;
}): Promise<void> {
  const counters = readCounters(job);
  if (!counters) return;
  inSingleFile(job.target, (db) => {
    db.transaction(() => {
      db.exec(
        'DELETE FROM spend; DELETE FROM admissions; UPDATE admission_state SET recording = 0, tokens = 0;',
      );
      const spend = db.prepare('INSERT INTO spend VALUES (@month, @spent_micro_usd, 0)');
      for (const row of counters.spend) spend.run(row);
      const admission = db.prepare('INSERT INTO admissions VALUES (@seq, @turn_id, @at, @tokens)');
      for (const row of counters.admissions) admission.run(row);
      db.prepare('UPDATE admission_state SET recording = @recording, tokens = @tokens').run(counters.state);
    })();
  });
}

interface Counters {
  spend: object[];
  admissions: object[];
  state: object;
}

function readCounters(job: { source: string; scratch: string; migrations: Migrations }): Counters | null {
  const version = versionOf(job.source, job.migrations);
  if (version === null) return null;
  const isLatest = version === job.migrations.latest;
  // The source is a backup and stays as it is.
  if (!isLatest) copyFileSync(job.source, job.scratch);
  const db = new Database(isLatest ? job.source : job.scratch, { fileMustExist: true });
  try {
    if (!isLatest) {
      migrate(db, {
        applicationId: TENANT_APPLICATION_ID,
        migrations: job.migrations,
        now: systemClock.now(),
      });
    }
    db.pragma('query_only = ON');
    const [state] = db.prepare<[], object>('SELECT recording, tokens FROM admission_state').all();
    return {
      spend: db.prepare<[], object>('SELECT month, spent_micro_usd FROM spend').all(),
      admissions: db.prepare<[], object>('SELECT seq, turn_id, at, tokens FROM admissions').all(),
      state: state ?? { recording: 0, tokens: 0 },
    };
  } finally {
    db.close();
  }
}

/** Null where it is not a file of ours. */
function versionOf(path: string, migrations: Migrations): number | null {
  const db = new Database(path, { fileMustExist: true });
  try {
    db.pragma('query_only = ON');
    return requireKnownSchema(db, migrations, { statistics: 'allowed' });
  } catch {
    return null;
  } finally {
    db.close();
  }
}
