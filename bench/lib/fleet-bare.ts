import { createHash } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../tenant-schema/clock.ts';
import { createIds } from '../../tenant-schema/ids.ts';
import { TENANT_APPLICATION_ID, TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';
import { type FleetRequest, NEXT_VERSION, type Step, type StepRun } from './fleet-steps.ts';
import { answerWith } from './processes.ts';

// The other side: a loop of bare calls that leaves the same on the disk and is as sure that it is there: the same
// schema, a row for each tenant and its key, a checked copy with a manifest, and an fsync wherever the promise needs one.

const ids = createIds(systemClock);
const tenants: string[] = [];
let folder = '';
let control: Database.Database | null = null;

function sync(path: string): void {
  const file = openSync(path, 'r');
  fsyncSync(file);
  closeSync(file);
}

function open(path: string): void {
  folder = path;
  for (const name of ['', 'tenants', 'tenants/.creating', 'backups']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  control?.close();
  control = new Database(join(folder, 'control.db'));
  control.pragma('journal_mode = WAL');
  control.pragma('synchronous = FULL');
  control.exec(
    `CREATE TABLE IF NOT EXISTS tenants (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE IF NOT EXISTS keys (id TEXT NOT NULL PRIMARY KEY, tenant_id TEXT NOT NULL, hash BLOB NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE IF NOT EXISTS audit (id TEXT NOT NULL PRIMARY KEY, action TEXT NOT NULL, tenant_id TEXT NOT NULL) STRICT, WITHOUT ROWID;`,
  );
}

function record(work: (db: Database.Database) => void): void {
  const db = control;
  db?.transaction(() => work(db))();
}

const audit = (db: Database.Database, action: string, id: string): void => {
  db.prepare('INSERT INTO audit VALUES (?, ?, ?)').run(ids(), action, id);
};

const pathOf = (id: string): string => join(folder, 'tenants', `${id}.db`);

function applyVersion(db: Database.Database, step: { version: number; name: string; sql: string }): void {
  db.transaction(() => {
    db.exec(
      `CREATE TABLE IF NOT EXISTS migrations (
         version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, applied_at INTEGER NOT NULL
       ) STRICT`,
    );
    db.exec(step.sql);
    const hash = createHash('sha256').update(step.sql).digest('hex');
    db.prepare('INSERT INTO migrations VALUES (?, ?, ?, ?)').run(
      step.version,
      step.name,
      hash,
      systemClock.now(),
    );
    db.pragma('foreign_key_check');
    db.pragma(`application_id = ${TENANT_APPLICATION_ID}`);
    db.pragma(`user_version = ${step.version}`);
  })();
}

function create(index: number): void {
  const id = ids();
  const unfinished = join(folder, 'tenants/.creating', `${id}.db`);
  const db = new Database(unfinished);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  for (const step of TENANT_MIGRATIONS) applyVersion(db, step);
  db.prepare('INSERT INTO tenant (id, name, created_at) VALUES (?, ?, ?)').run(
    id,
    `Tenant ${index}`,
    systemClock.now(),
  );
  db.close();
  sync(unfinished);
  renameSync(unfinished, pathOf(id));
  sync(join(folder, 'tenants'));
  sync(join(folder, 'tenants/.creating'));
  record((rows) => {
    rows.prepare('INSERT INTO tenants VALUES (?, ?)').run(id, `Tenant ${index}`);
    rows
      .prepare('INSERT INTO keys VALUES (?, ?, ?)')
      .run(ids(), id, createHash('sha256').update(id).digest());
    audit(rows, 'tenant.create', id);
    audit(rows, 'key.create', id);
  });
  tenants.push(id);
}

function migrate(id: string): void {
  const db = new Database(pathOf(id), { fileMustExist: true });
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  applyVersion(db, NEXT_VERSION);
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
}

function backUp(id: string): void {
  const ownFolder = join(folder, 'backups', id);
  mkdirSync(ownFolder);
  sync(join(folder, 'backups'));
  const unfinished = join(folder, 'tenants/.creating', `${id}.db`);
  const source = new Database(pathOf(id), { fileMustExist: true });
  source.prepare('VACUUM INTO ?').run(unfinished);
  source.close();
  const copy = new Database(unfinished, { fileMustExist: true });
  if (copy.pragma('integrity_check', { simple: true }) !== 'ok') throw new Error('damaged');
  copy.pragma('foreign_key_check');
  copy.close();
  sync(unfinished);
  const sha256 = createHash('sha256').update(readFileSync(unfinished)).digest('hex');
  const backup = join(ownFolder, ids());
  renameSync(unfinished, `${backup}.db`);
  sync(ownFolder);
  sync(join(folder, 'tenants/.creating'));
  const manifest = { tenant: id, sha256, size_bytes: statSync(`${backup}.db`).size, schema_version: 2 };
  writeFileSync(`${backup}.json.tmp`, JSON.stringify(manifest, null, 2));
  sync(`${backup}.json.tmp`);
  renameSync(`${backup}.json.tmp`, `${backup}.json`);
  sync(ownFolder);
  record((rows) => audit(rows, 'backup.create', id));
}

function run(step: Step, from: number, to: number): StepRun {
  const startedAt = systemClock.monotonic();
  for (let index = from; index < to; index += 1) {
    if (step === 'create') create(index);
    else if (step === 'migrate') migrate(tenants[index] ?? '');
    else backUp(tenants[index] ?? '');
  }
  return { ms: systemClock.monotonic() - startedAt };
}

answerWith(async (request: FleetRequest) => {
  if (request.kind === 'run') return run(request.step, request.from, request.to);
  if (request.kind === 'open') open(request.folder);
  else control?.close();
  return null;
});
