import { closeSync, existsSync, lstatSync, openSync, readSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { Glance } from '../engine.ts';
import { TENANT_APPLICATION_ID } from './migrations.ts';

// Looks at files that change nothing. They run in a child process: there, no SQLite connection of the server can
// lose its locks by a descriptor that is closed here.

/** Opens a file for looking only. The caller closes it. */
export function openForLook(path: string): Database.Database {
  // A connection that is read-only by its mode cannot clean up at its close, and would leave a -wal and a -shm
  // beside a file that stood alone.
  const db = new Database(path, { fileMustExist: true, timeout: 1000 });
  try {
    db.pragma('query_only = ON');
    db.pragma('trusted_schema = OFF');
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

const HEADER_BYTES = 100;
const USER_VERSION_AT = 60;
const APPLICATION_ID_AT = 68;

/** What the header of each file says: thousands of files in a second. */
export async function glance(job: { sources: readonly string[]; latest: number }): Promise<Glance[]> {
  return job.sources.map((source) => {
    try {
      const { version, applicationId } = existsSync(`${source}-wal`) ? askSqlite(source) : readHeader(source);
      return { schemaVersion: version, problem: headerProblem(version, applicationId, job.latest) };
    } catch (error) {
      return { schemaVersion: null, problem: error instanceof Error ? error.message : String(error) };
    }
  });
}

interface Header {
  version: number;
  applicationId: number;
}

function readHeader(path: string): Header {
  // SQLite follows links; a file of ours is never one.
  if (!lstatSync(path).isFile()) throw new Error('It is not a regular file.');
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, 'r');
  try {
    const length = readSync(file, header, 0, HEADER_BYTES, 0);
    if (length < HEADER_BYTES || header.toString('latin1', 0, 16) !== 'SQLite format 3\0') {
      throw new Error('It is not a SQLite database.');
    }
  } finally {
    closeSync(file);
  }
  return {
    version: header.readUInt32BE(USER_VERSION_AT),
    applicationId: header.readUInt32BE(APPLICATION_ID_AT),
  };
}

/** Where a -wal lies beside the file, the latest header may be in there. */
function askSqlite(path: string): Header {
  if (!lstatSync(path).isFile()) throw new Error('It is not a regular file.');
  const db = openForLook(path);
  try {
    return {
      version: Number(db.pragma('user_version', { simple: true })),
      applicationId: Number(db.pragma('application_id', { simple: true })),
    };
  } finally {
    db.close();
  }
}

function headerProblem(version: number, applicationId: number, latest: number): string | null {
  if (applicationId !== TENANT_APPLICATION_ID) return 'It is not a tenant of this program.';
  if (version < 1) return 'It has no schema version.';
  if (version > latest)
    return `It has schema version ${version}; this server knows versions up to ${latest}.`;
  return null;
}

/** What SQLite says of a database that is not a tenant's; null where it is sound. */
export async function integrity(job: { source: string }): Promise<string | null> {
  try {
    const db = openForLook(job.source);
    try {
      const found = db.pragma('integrity_check(1)', { simple: true });
      if (found !== 'ok') return String(found);
      const broken = db.prepare<[], { table: string }>('PRAGMA foreign_key_check').get();
      return broken ? `rows in "${broken.table}" refer to nothing` : null;
    } finally {
      db.close();
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
