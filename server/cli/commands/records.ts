import { InvalidArgumentError, Option } from 'commander';
import type { Json } from '../api.ts';
import type { Leaf } from '../cli.ts';
import { EXIT } from '../io.ts';
import { plural, table } from '../output.ts';
import { findTenant, listAll, type Session } from '../session.ts';
import { follow } from './fleet.ts';

interface UsageRow {
  tenant_id?: string;
  day?: string;
  turns: number;
  errors: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd: number | null;
}

interface AuditRow {
  id: string;
  created_at: string;
  actor: { id: string; name: string; kind: string };
  action: string;
  tenant_id: string | null;
  target_id: string | null;
  request_id: string | null;
  changes: Json;
}

interface Failure {
  tenant_id: string;
  reason: string;
}

const tenantOption = () => new Option('--tenant <tenant>', 'only this one, by its id or its name');
const sinceOption = () => new Option('--since <time>', 'from this date or time on (UTC)');
const untilOption = () => new Option('--until <time>', 'up to this date or time');

interface RangeOptions {
  tenant?: string;
  since?: string;
  until?: string;
}

/** The filters that both lists have, as a query. */
async function queryOf({ api }: Session<object>, { tenant, since, until }: RangeOptions) {
  return {
    ...(tenant !== undefined && { tenant_id: (await findTenant(api, tenant, 'any')).id }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
  };
}

/** What tenants have used. */
export function addUsageCommands(leaf: Leaf): void {
  leaf<RangeOptions & { by: 'tenant' | 'day' | 'both' }>({
    usage: 'list',
    isDefault: true,
    summary: 'show what tenants have used, in whole UTC days',
    options: [
      new Option('--by <what>', 'a row for each').choices(['tenant', 'day', 'both']).default('tenant'),
      tenantOption(),
      sinceOption(),
      untilOption(),
    ],
    examples: ['list --since 2026-01-01', 'list --by day --tenant Acme', 'list --by both --json'],
    async run(session) {
      const { io, api, options, print } = session;
      const query = {
        ...(await queryOf(session, options)),
        ...(options.by !== 'both' && { group_by: options.by }),
      };
      const rows: UsageRow[] = [];
      for await (const row of listAll<UsageRow>(api, '/api/v1/admin/usage', query)) rows.push(row);
      const numbers = [
        { title: 'TURNS', of: (row: UsageRow) => row.turns, right: true },
        { title: 'ERRORS', of: (row: UsageRow) => row.errors, right: true },
        { title: 'INPUT', of: (row: UsageRow) => row.input_tokens, right: true },
        { title: 'OUTPUT', of: (row: UsageRow) => row.output_tokens, right: true },
        { title: 'USD', of: (row: UsageRow) => row.cost_usd, right: true },
      ];
      const day = { title: 'DAY', of: (row: UsageRow) => row.day ?? null, whole: true };
      const tenant = { title: 'TENANT', of: (row: UsageRow) => row.tenant_id ?? null, whole: true };
      const keys = { tenant: [tenant], day: [day], both: [day, tenant] }[options.by];
      print({ data: rows }, table(io, [...keys, ...numbers], rows));
    },
  });

  leaf<{ tenant?: string }>({
    usage: 'rebuild',
    summary: "set what tenants have used to what each one's own file says, while turns run",
    options: [tenantOption()],
    examples: ['rebuild', 'rebuild --tenant Acme'],
    async run(session) {
      const { io, api, options, print } = session;
      const body =
        options.tenant === undefined ? {} : { tenant_id: (await findTenant(api, options.tenant)).id };
      const done = await follow<{ rebuilt: number; failed: Failure[] }>(
        session,
        'Summing up',
        '/api/v1/admin/usage/rebuild',
        body,
        (name, data, clearBar) => {
          if (name !== 'failed' || options.json) return;
          clearBar();
          io.stderr.write(`${String(data.tenant_id)}: ${String(data.reason)}\n`);
        },
      );
      const { rebuilt, failed } = done;
      print(done, `${plural(rebuilt, 'tenant')} summed up, ${failed.length} failed.\n`);
      return failed.length > 0 ? EXIT.someFailed : EXIT.ok;
    },
  });
}

function parseCount(text: string): number {
  const count = /^[1-9]\d{0,6}$/.test(text) ? Number(text) : 0;
  if (count === 0) throw new InvalidArgumentError('It must be a number from 1 to 9999999.');
  return count;
}

/** Who did what. */
export function addAuditCommands(leaf: Leaf): void {
  leaf<RangeOptions & { actor?: string; action?: string; limit: number }>({
    usage: 'list',
    isDefault: true,
    summary: 'show who did what, newest first',
    options: [
      tenantOption(),
      new Option('--actor <actor>', 'only what this one did: an id or a name'),
      new Option('--action <action>', 'only this, such as key.revoke'),
      sinceOption(),
      untilOption(),
      new Option('--limit <count>', 'at most so many').argParser(parseCount).default(100),
    ],
    examples: ['list', 'list --tenant Acme --action key.revoke', 'list --since 2026-01-01 --json'],
    async run(session) {
      const { io, api, options, print } = session;
      const query = {
        ...(await queryOf(session, options)),
        ...(options.actor !== undefined && { actor: options.actor }),
        ...(options.action !== undefined && { action: options.action }),
      };
      const rows: AuditRow[] = [];
      for await (const row of listAll<AuditRow>(api, '/api/v1/admin/audit', query)) {
        rows.push(row);
        if (rows.length >= options.limit) break;
      }
      const text = table(
        io,
        [
          { title: 'TIME', of: (row) => row.created_at, whole: true },
          { title: 'ACTOR', of: (row) => row.actor.name || row.actor.id },
          { title: 'ACTION', of: (row) => row.action, whole: true },
          { title: 'TENANT', of: (row) => row.tenant_id, whole: true },
          { title: 'CHANGES', of: (row) => JSON.stringify(row.changes) },
        ],
        rows,
      );
      print({ data: rows }, text);
    },
  });
}
