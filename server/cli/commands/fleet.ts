import { InvalidArgumentError, Option } from 'commander';
import { Fault } from '../../../tenant-schema/fault.ts';
import type { Json } from '../api.ts';
import type { Leaf } from '../cli.ts';
import type { Connection } from '../connect.ts';
import { CliError, EXIT, type ExitCode } from '../io.ts';
import { bytes, facts, plural, progressBar, table, whileWaiting } from '../output.ts';
import { listAll, type Session } from '../session.ts';

interface Quarantined {
  tenant_id: string;
  reason: string;
}

type Versions = { schema_version: number | null; files: number }[];

interface FleetStatus {
  latest_version: number;
  files: number;
  versions: Versions;
  quarantined: Quarantined[];
}

interface Diagnosis {
  checked: number;
  size_bytes: number;
  versions: Versions;
  sealed_with_file: number;
  findings: number;
  fixed: number;
}

interface Finding {
  kind: string;
  tenant_id: string | null;
  path: string | null;
  message: string;
  fixable: boolean;
  fixed: boolean;
}

function parseParallel(text: string): number {
  const parallel = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (parallel < 1 || parallel > 64) throw new InvalidArgumentError('It must be a number from 1 to 64.');
  return parallel;
}

/** Follows a streamed answer with a bar, and gives its last event. */
export async function follow<T>(
  { io, api }: Session<object>,
  label: string,
  path: string,
  body: Json,
  onEvent: (name: string, data: Json, clearBar: () => void) => void,
): Promise<T> {
  const bar = progressBar(io, label);
  const events = api.events(path, body);
  try {
    // Much may be looked at before the first of them.
    let next = await whileWaiting(io, label, events.next());
    for (; !next.done; next = await events.next()) {
      const { name, data } = next.value;
      if (name === 'progress') bar.update(Number(data.done), Number(data.total));
      else if (name === 'done') return data as T;
      else onEvent(name, data, bar.clear);
    }
  } finally {
    bar.clear();
    await events.return(undefined);
  }
  throw new CliError(
    EXIT.failed,
    'The server ended before the work was done. What is done is done: run it again.',
  );
}

async function rebuild({ io, options, connection, print }: Session<object>): Promise<ExitCode> {
  if (connection.direct === null) {
    throw new CliError(EXIT.refused, 'control.db can only be rebuilt while no server runs: stop it first.');
  }
  const bar = progressBar(io, 'Reading');
  const { tenants, failed } = await connection.direct
    .rebuildControl(bar.update)
    .catch((error: unknown) => {
      if (error instanceof Fault) throw new CliError(EXIT.refused, error.message, error.code);
      throw error;
    })
    .finally(bar.clear);
  const rows = tenants.map(({ tenantId, name, status, apiKey }) => ({
    id: tenantId,
    name,
    status,
    api_key: apiKey,
  }));
  const text = table(
    io,
    [
      { title: 'ID', of: (row) => row.id, whole: true },
      { title: 'NAME', of: (row) => row.name },
      { title: 'STATUS', of: (row) => row.status },
      { title: 'NEW API KEY (SHOWN THIS ONCE)', of: (row) => row.api_key, whole: true },
    ],
    rows,
  );
  if (!options.json) for (const { path, reason } of failed) io.stderr.write(`${path}: ${reason}\n`);
  print({ tenants: rows, failed }, text);
  return failed.length > 0 ? EXIT.someFailed : EXIT.ok;
}

async function examine(session: Session<{ fix?: boolean }>): Promise<ExitCode> {
  const { io, options, print } = session;
  const findings: Finding[] = [];
  const body = { fix: options.fix ?? false };
  const done = await follow<Diagnosis>(
    session,
    'Checking',
    '/api/v1/admin/doctor',
    body,
    (name, data, clearBar) => {
      if (name !== 'finding') return;
      const finding = data as unknown as Finding;
      findings.push(finding);
      if (options.json) return;
      clearBar();
      const state = finding.fixed ? ' (fixed)' : finding.fixable ? ' (--fix sets it right)' : '';
      const where = finding.path ?? finding.tenant_id ?? '';
      io.stdout.write(`${finding.kind}  ${where}: ${finding.message}${state}\n`);
    },
  );
  const { checked, size_bytes, fixed, sealed_with_file: sealed } = done;
  const versions = done.versions.map(({ schema_version, files }) =>
    schema_version === null ? `, ${files} unreadable` : `, ${files} at version ${schema_version}`,
  );
  const looked = `${plural(checked, 'file')} checked, ${bytes(size_bytes)}${versions.join('')}`;
  const summary = `${looked}; ${plural(findings.length, 'finding')}`;
  // No finding: nobody can see from here whether there is one.
  const advice =
    sealed > 0
      ? `Without master.key ${plural(sealed, 'provider key')} cannot be opened: keep a copy of it, apart from the backups.\n`
      : '';
  print({ ...done, findings }, `${summary}${fixed > 0 ? `, ${fixed} fixed` : ''}.\n${advice}`);
  return findings.length > fixed ? EXIT.someFailed : EXIT.ok;
}

interface ControlBackupRow {
  id: string;
  created_at: string;
  size_bytes: number;
  sha256: string;
  trigger: string;
  /** Under the data folder. */
  path: string;
}

const CONTROL_BACKUPS = '/api/v1/admin/backups/control';

const fileOf = ({ dataDir }: Connection, { path }: ControlBackupRow): string =>
  `${dataDir ?? 'DATA_DIR'}/${path}`;

async function backUpControl({ api, connection, print }: Session<object>): Promise<void> {
  const made = await api.send<ControlBackupRow>('POST', CONTROL_BACKUPS);
  const path = fileOf(connection, made);
  const pairs = [
    ['backup', made.id],
    ['size', bytes(made.size_bytes)],
    ['sha256', made.sha256],
    ['file', path],
  ] as const;
  print({ ...made, path }, facts(pairs));
}

async function listControlBackups({ io, api, connection, print }: Session<object>): Promise<void> {
  const rows: ControlBackupRow[] = [];
  for await (const row of listAll<ControlBackupRow>(api, CONTROL_BACKUPS)) {
    rows.push({ ...row, path: fileOf(connection, row) });
  }
  const text = table(
    io,
    [
      { title: 'MADE', of: (row) => row.created_at, whole: true },
      { title: 'SIZE', of: (row) => bytes(row.size_bytes), right: true },
      { title: 'TRIGGER', of: (row) => row.trigger },
      { title: 'FILE', of: (row) => row.path, whole: true },
    ],
    rows,
  );
  print({ data: rows }, text);
}

/** Commands about all tenants at once. */
export function addFleetCommands(leaf: Leaf): void {
  leaf<{ parallel?: number }>({
    usage: 'migrate',
    summary: "bring every tenant's file to this server's schema, each by itself",
    options: [
      new Option(
        '--parallel <count>',
        'tenants at a time; above 2, the others wait for a free process',
      ).argParser(parseParallel),
    ],
    examples: ['migrate', 'migrate --parallel 2 --json'],
    async run(session) {
      const { io, options, print } = session;
      const done = await follow<{ migrated: number; current: number; failed: Quarantined[] }>(
        session,
        'Migrating',
        '/api/v1/admin/fleet/migrate',
        { ...(options.parallel !== undefined && { parallel: options.parallel }) },
        (name, data, clearBar) => {
          if (name !== 'failed' || options.json) return;
          clearBar();
          io.stderr.write(`${String(data.tenant_id)}: ${String(data.reason)}\n`);
        },
      );
      const { migrated, current, failed } = done;
      print(done, `${migrated} migrated, ${current} were current, ${failed.length} failed.\n`);
      return failed.length > 0 ? EXIT.someFailed : EXIT.ok;
    },
  });

  leaf({
    usage: 'status',
    summary: 'show how many files are at which schema version, and which cannot be used',
    examples: ['status', 'status --json'],
    async run({ io, api, connection, print }) {
      const status = await api.get<FleetStatus>('/api/v1/admin/fleet');
      const server = connection.direct === null ? 'running' : 'not running';
      const versions = status.versions.map(
        ({ schema_version, files }) =>
          [schema_version === null ? 'unreadable' : `at version ${schema_version}`, files] as const,
      );
      const text = facts([
        ['server', server],
        ['latest version', status.latest_version],
        ['files', status.files],
        ...versions,
        ['quarantined', status.quarantined.length],
      ]);
      const columns = [
        { title: 'TENANT', of: (row: Quarantined) => row.tenant_id, whole: true },
        { title: 'REASON', of: (row: Quarantined) => row.reason, whole: true },
      ];
      const list = status.quarantined.length > 0 ? `\n${table(io, columns, status.quarantined)}` : '';
      print({ server, ...status }, text + list);
    },
  });

  leaf<{ list?: boolean }>({
    usage: 'backup-control',
    summary: 'back up control.db: tenants, limits, hashed keys and the audit',
    options: [new Option('--list', 'list the copies there are, newest first')],
    examples: [
      'backup-control',
      'backup-control --list',
      'cp "$(nimblesite backup-control --json | jq -r .path)" control.db',
    ],
    run: (session) => (session.options.list ? listControlBackups(session) : backUpControl(session)),
  });

  leaf<{ fix?: boolean; rebuildControl?: boolean }>({
    usage: 'doctor',
    summary: 'check every file and what is known of it, without changing anything',
    options: [
      new Option('--fix', 'set right what is safe: modes, names in files, what unfinished work left'),
      new Option('--rebuild-control', "make a lost control.db anew from the tenants' files").conflicts('fix'),
    ],
    examples: ['doctor', 'doctor --fix', 'doctor --rebuild-control'],
    run: (session) => (session.options.rebuildControl ? rebuild(session) : examine(session)),
  });
}
