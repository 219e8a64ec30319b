import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { isId } from '../../tenant-schema/ids.ts';
import type { Api } from './api.ts';
import { type Connection, type ConnectOptions, connect } from './connect.ts';
import { CliError, EXIT, type ExitCode, type Io } from './io.ts';

/** A command that runs: its options, its server, and its ways to answer. */
export interface Session<Options> {
  io: Io;
  options: Options & ConnectOptions;
  args: string[];
  connection: Connection;
  api: Api;
  /** Writes the result to standard output: `data` with `--json`, else `text`. */
  print(data: unknown, text: string): void;
  /** A word beside the result, for people only. */
  note(text: string): void;
}

export type Work<Options> = (session: Session<Options>) => Promise<ExitCode> | Promise<void>;

/** What a command's action is made of; gives the exit code to `done`. */
export function inSession<Options extends object>(
  io: Io,
  done: (code: ExitCode) => void,
  work: Work<Options>,
  settings: { mayCreate?: boolean } = {},
): (...params: unknown[]) => Promise<void> {
  return async (...params) => {
    const command = params.at(-1) as Command;
    const options = command.opts<Options & ConnectOptions>();
    const connection = await connect(io, options, settings.mayCreate ?? false);
    try {
      const code = await work({
        io,
        options,
        args: command.args,
        connection,
        api: connection.api,
        print: (data, text) => {
          io.stdout.write(options.json ? `${JSON.stringify(data)}\n` : text);
        },
        note: (text) => {
          if (!options.json) io.stderr.write(`${text}\n`);
        },
      });
      done(code ?? EXIT.ok);
    } finally {
      await connection.close();
    }
  };
}

export interface TenantRow {
  id: string;
  name: string;
  status: 'active' | 'suspended' | 'deleted';
  created_at: string;
  metadata: Record<string, unknown>;
  limits: Record<string, unknown>;
  settings: { log_content: boolean; redact_secrets: boolean };
}

interface ListPage<Row> {
  data: Row[];
  next_cursor: string | null;
}

/** Every row of a list, page by page. */
export async function* listAll<Row>(api: Api, path: string, query: Record<string, string> = {}) {
  let cursor: string | null = null;
  do {
    const search = new URLSearchParams({ ...query, limit: '100', ...(cursor !== null && { cursor }) });
    const page: ListPage<Row> = await api.get<ListPage<Row>>(`${path}?${search}`);
    yield* page.data;
    cursor = page.next_cursor;
  } while (cursor !== null);
}

export const TENANTS = '/api/v1/admin/tenants';

/**
 * The tenant that an operator means, by its id or by a name that only one has.
 * @throws `CliError` where there is none, or where several have the name: then it lists their ids
 */
export async function findTenant(
  api: Api,
  wanted: string,
  where: 'live' | 'deleted' | 'any' = 'live',
): Promise<TenantRow> {
  if (where !== 'deleted' && isId(wanted)) {
    try {
      return await api.get<TenantRow>(`${TENANTS}/${wanted}`);
    } catch (error) {
      if (where !== 'any' || !(error instanceof CliError && error.exitCode === EXIT.notFound)) {
        throw error instanceof CliError && error.exitCode === EXIT.notFound ? noTenant(wanted, where) : error;
      }
    }
  }
  // No name is blank, and a list of such is refused.
  if (wanted.trim() === '') throw noTenant(wanted, where);
  const found: TenantRow[] = [];
  const queries = { live: [{}], deleted: [{ status: 'deleted' }], any: [{}, { status: 'deleted' }] }[where];
  for (const query of queries) {
    // Of a deleted tenant there is nothing but its row in the list.
    const byName = isId(wanted) ? {} : { name: wanted };
    for await (const row of listAll<TenantRow>(api, TENANTS, { ...query, ...byName })) {
      if (row.id === wanted || row.name === wanted) found.push(row);
    }
  }
  const [first, ...others] = found;
  if (!first) throw noTenant(wanted, where);
  if (others.length > 0) {
    const ids = found.map(({ id, status }) => `\n  ${id}  ${status}`).join('');
    throw new CliError(EXIT.refused, `Several tenants are named "${wanted}"; use an id:${ids}`);
  }
  return first;
}

function noTenant(wanted: string, where: 'live' | 'deleted' | 'any'): CliError {
  const kind = where === 'deleted' ? 'deleted tenant' : 'tenant';
  const list = where === 'deleted' ? 'tenant list --status deleted' : 'tenant list';
  return new CliError(
    EXIT.notFound,
    `There is no ${kind} with the id or the name "${wanted}"; see "nimblesite ${list}".`,
  );
}

/**
 * What a call answers about something of a tenant that was found already.
 * @throws `CliError` with `missing` where there is no such thing: the server does not say which it is
 */
export async function orMissing<T>(call: Promise<T>, missing: string): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof CliError && error.code === 'not_found')) throw error;
    throw new CliError(EXIT.notFound, missing, error.code);
  }
}

/**
 * Has the operator type the tenant's name before something that cannot be taken back.
 * @throws `CliError` where another text is typed, or where there is nobody to ask
 */
export async function confirm(io: Io, yes: boolean, name: string, what: string): Promise<void> {
  if (yes) return;
  if (!io.stdin.isTTY) {
    throw new CliError(EXIT.usage, `${what} There is nobody to ask: say --yes to go on without a question.`);
  }
  const lines = createInterface({ input: io.stdin, crlfDelay: Number.POSITIVE_INFINITY });
  try {
    io.stderr.write(`${what}\nType the tenant's name (${name}) to go on: `);
    const answer = await new Promise<string>((resolve) => {
      lines.once('line', resolve);
      lines.once('close', () => resolve(''));
    });
    if (answer.trim() !== name.trim())
      throw new CliError(EXIT.refused, 'That is another name; nothing was done.');
  } finally {
    lines.close();
  }
}
