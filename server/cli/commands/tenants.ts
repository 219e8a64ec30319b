import { InvalidArgumentError, Option } from 'commander';
import type { TenantLimits } from '../../../control-plane/types.ts';
import type { Json } from '../api.ts';
import type { Leaf } from '../cli.ts';
import { openForUpload, requireFree, save } from '../files.ts';
import { CliError, EXIT } from '../io.ts';
import { bytes, facts, progressBar, table } from '../output.ts';
import { confirm, findTenant, listAll, type Session, TENANTS, type TenantRow } from '../session.ts';

interface NewTenant extends TenantRow {
  api_key: string;
}

/** A made tenant with its key, which is shown nowhere else again. */
export const newTenantText = ({ id, name, api_key }: NewTenant): string =>
  `${facts([
    ['id', id],
    ['name', name],
    ['api key', api_key],
  ])}The key is shown this once.\n`;

const limitsText = (limits: Json): string =>
  Object.entries(limits)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(',') : String(value)}`)
    .join(' ');

const tenantText = (row: TenantRow): string =>
  facts([
    ['id', row.id],
    ['name', row.name],
    ['status', row.status],
    ['created', row.created_at],
    ['limits', limitsText(row.limits) || null],
    ['log content', row.settings.log_content ? 'on' : 'off'],
    ['redact secrets', row.settings.redact_secrets ? 'on' : 'off'],
    ['metadata', Object.keys(row.metadata).length > 0 ? JSON.stringify(row.metadata) : null],
  ]);

const LIMITS: Record<keyof TenantLimits, 'number' | 'names'> = {
  requests_per_minute: 'number',
  tokens_per_minute: 'number',
  max_concurrent_turns: 'number',
  monthly_spend_usd: 'number',
  storage_bytes_max: 'number',
  providers: 'names',
};
const LIMIT_NAMES = Object.keys(LIMITS).join(', ');
const isLimit = (name: string): name is keyof TenantLimits => Object.hasOwn(LIMITS, name);

/** `requests_per_minute=60`, `providers=openai,anthropic`, `storage_bytes_max=none`. */
function collectLimit(text: string, limits: Json = {}): Json {
  const [, name, value] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('It must be NAME=VALUE.');
  if (!isLimit(name)) throw new InvalidArgumentError(`The limits are ${LIMIT_NAMES}.`);
  const parsed =
    value === 'none'
      ? null
      : LIMITS[name] === 'names'
        ? value.split(',')
        : Number(value === '' ? 'NaN' : value);
  if (typeof parsed === 'number' && Number.isNaN(parsed)) {
    throw new InvalidArgumentError('A limit is a number, or "none"; providers are names with commas.');
  }
  return { ...limits, [name]: parsed };
}

function parseMetadata(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw new InvalidArgumentError('It must be a JSON object.');
  }
}

const SWITCH = ['on', 'off'] as const;
type Switch = (typeof SWITCH)[number];

const limitOption = new Option(
  '--limit <name=value>',
  `a limit; the value "none" removes it; may be given again: ${LIMIT_NAMES}`,
).argParser(collectLimit);
const metadataOption = new Option('--metadata <json>', 'a JSON object of your own').argParser(parseMetadata);

async function patch(session: Session<object>, change: Json): Promise<void> {
  const { id } = await findTenant(session.api, session.args[0] ?? '');
  const row = await session.api.send<TenantRow>('PATCH', `${TENANTS}/${id}`, change);
  session.print(row, tenantText(row));
}

const COPY_HINT = (id: string, dataDir: string | null): string =>
  `A plain cp of ${dataDir ?? 'DATA_DIR'}/tenants/${id}.db is whole only while no ${id}.db-wal lies beside it: with the\n` +
  'server stopped, after TENANT_IDLE_SECONDS without a request, or after "nimblesite tenant quiesce".';

/** Commands about one tenant, in the order in which its life goes. */
export function addTenantCommands(leaf: Leaf): void {
  leaf<{ limit?: Json; metadata?: Json }>({
    usage: 'create <name>',
    summary: 'make a tenant with a database file and a first API key, which is shown this once',
    options: [limitOption, metadataOption],
    examples: ['create Acme', 'create Acme --limit requests_per_minute=60 --limit providers=demo,openai'],
    mayCreate: true,
    async run({ api, args, options: { limit, metadata }, print }) {
      const made = await api.send<NewTenant>('POST', TENANTS, {
        name: args[0],
        ...(limit && { limits: limit }),
        ...(metadata && { metadata }),
      });
      print(made, newTenantText(made));
    },
  });

  leaf<{ status?: string }>({
    usage: 'list',
    summary: 'list tenants, newest first',
    options: [
      new Option('--status <status>', 'only those; deleted ones are listed only so').choices([
        'active',
        'suspended',
        'deleted',
      ]),
    ],
    examples: ['list', 'list --status deleted', 'list --json'],
    async run({ io, api, options: { status }, print }) {
      const rows: TenantRow[] = [];
      const bar = progressBar(io, 'Listing');
      for await (const row of listAll<TenantRow>(api, TENANTS, status === undefined ? {} : { status })) {
        bar.update(rows.push(row), 0);
      }
      bar.clear();
      const text = table(
        io,
        [
          { title: 'ID', of: ({ id }) => id, whole: true },
          { title: 'NAME', of: ({ name }) => name },
          { title: 'STATUS', of: ({ status }) => status, whole: true },
          { title: 'CREATED', of: ({ created_at }) => created_at, whole: true },
        ],
        rows,
      );
      print({ data: rows }, text);
    },
  });

  leaf({
    usage: 'show <tenant>',
    summary: 'show a tenant',
    examples: ['show Acme', 'show 01a2b3c4-0000-7000-8000-000000000000 --json'],
    async run({ api, args, print }) {
      const row = await findTenant(api, args[0] ?? '');
      print(row, tenantText(row));
    },
  });

  leaf({
    usage: 'rename <tenant> <name>',
    summary: 'give a tenant another name',
    examples: ['rename Acme "Acme Ltd"'],
    run: (session) => patch(session, { name: session.args[1] }),
  });
  leaf<{ limit?: Json; metadata?: Json; logContent?: Switch; redactSecrets?: Switch }>({
    usage: 'set <tenant>',
    summary: 'change limits, settings and metadata',
    options: [
      limitOption,
      new Option('--log-content <on|off>', 'whether its logs keep what was said').choices(SWITCH),
      new Option('--redact-secrets <on|off>', 'whether what looks like a secret is replaced there').choices(
        SWITCH,
      ),
      metadataOption,
    ],
    examples: ['set Acme --limit storage_bytes_max=1000000000', 'set Acme --log-content on'],
    async run(session) {
      const { limit, metadata, logContent, redactSecrets } = session.options;
      const settings = {
        ...(logContent && { log_content: logContent === 'on' }),
        ...(redactSecrets && { redact_secrets: redactSecrets === 'on' }),
      };
      const hasSettings = Object.keys(settings).length > 0;
      if (!limit && !metadata && !hasSettings) {
        throw new CliError(
          EXIT.usage,
          'Say what to set: --limit, --log-content, --redact-secrets or --metadata.',
        );
      }
      await patch(session, {
        ...(limit && { limits: limit }),
        ...(metadata && { metadata }),
        ...(hasSettings && { settings }),
      });
    },
  });
  leaf({
    usage: 'suspend <tenant>',
    summary: "refuse the tenant's requests from the next one on; running turns finish",
    examples: ['suspend Acme'],
    run: (session) => patch(session, { status: 'suspended' }),
  });
  leaf({
    usage: 'resume <tenant>',
    summary: 'serve a suspended tenant again',
    examples: ['resume Acme'],
    run: (session) => patch(session, { status: 'active' }),
  });

  leaf({
    usage: 'clone <tenant> <name>',
    summary: 'copy data and limits into a new tenant, with a key of its own',
    examples: ['clone Acme "Acme staging"'],
    async run({ api, args, print }) {
      const { id } = await findTenant(api, args[0] ?? '');
      const made = await api.send<NewTenant>('POST', `${TENANTS}/${id}/clone`, { name: args[1] });
      print(made, newTenantText(made));
    },
  });

  leaf<{ output?: string; force?: boolean }>({
    usage: 'export <tenant>',
    summary: 'write everything of a tenant into one SQLite file, while it is being used',
    options: [
      new Option('-o, --output <file>', 'where to; default: <tenant id>.db in this folder'),
      new Option('--force', 'replace a file that is there'),
    ],
    examples: ['export Acme', 'export Acme -o acme.db --force'],
    async run({ io, api, args, connection, options: { output, force = false }, print, note }) {
      const { id, name } = await findTenant(api, args[0] ?? '');
      const target = output ?? `${id}.db`;
      await requireFree(target, force);
      const file = await save(io, await api.download(`${TENANTS}/${id}/export`), target, force);
      note(COPY_HINT(id, connection.dataDir));
      print(
        { tenant_id: id, name, ...file },
        `${file.path}  ${bytes(file.size_bytes)}  sha256 ${file.sha256}\n`,
      );
    },
  });

  leaf<{ name: string }>({
    usage: 'import <file>',
    summary: 'make a new tenant out of a tenant file: an export, a backup, or a copy from another server',
    options: [new Option('--name <name>', "the new tenant's name").makeOptionMandatory()],
    examples: ['import acme.db --name Acme'],
    mayCreate: true,
    async run({ io, api, args, options: { name }, print }) {
      const { stream, sizeBytes } = await openForUpload(io, args[0] ?? '');
      const query = new URLSearchParams({ name });
      const made = await api.upload<NewTenant>(`${TENANTS}/import?${query}`, stream, sizeBytes);
      print(made, newTenantText(made));
    },
  });

  leaf({
    usage: 'delete <tenant>',
    summary: 'kill its keys at once and move its file to the trash, from where it can come back',
    examples: ['delete Acme'],
    async run({ api, args, print }) {
      const { id, name } = await findTenant(api, args[0] ?? '');
      await api.send('DELETE', `${TENANTS}/${id}`);
      print(
        { id, name, status: 'deleted' },
        `${name} is in the trash; back with: nimblesite tenant undelete ${id}\n`,
      );
    },
  });

  leaf({
    usage: 'undelete <tenant>',
    summary: 'bring a tenant back from the trash, with a new key; the old ones stay dead',
    examples: ['undelete Acme'],
    async run({ api, args, print }) {
      const { id } = await findTenant(api, args[0] ?? '', 'deleted');
      const made = await api.send<NewTenant>('POST', `${TENANTS}/${id}/undelete`);
      print(made, newTenantText(made));
    },
  });

  leaf<{ yes?: boolean }>({
    usage: 'purge <tenant>',
    summary: 'remove a tenant, its file, its backups and its name for good',
    options: [new Option('--yes', 'do not ask')],
    examples: ['purge Acme', 'purge 01a2b3c4-0000-7000-8000-000000000000 --yes'],
    async run({ io, api, args, options: { yes = false }, print }) {
      const { id, name } = await findTenant(api, args[0] ?? '', 'any');
      await confirm(io, yes, name, `This removes the tenant ${id} with its backups. There is no way back.`);
      await api.send('DELETE', `${TENANTS}/${id}?purge=true`);
      print({ id, purged: true }, `${id} is gone.\n`);
    },
  });

  leaf({
    usage: 'quiesce <tenant>',
    summary: "close the tenant's file now, so that a plain copy of it is whole",
    examples: ['quiesce Acme', 'cp "$(nimblesite tenant quiesce Acme)" acme.db'],
    async run({ api, args, connection, print, note }) {
      const { id } = await findTenant(api, args[0] ?? '');
      const { standalone } = await api.send<{ standalone: boolean }>('POST', `${TENANTS}/${id}/quiesce`);
      const path = `${connection.dataDir ?? 'DATA_DIR'}/tenants/${id}.db`;
      // Alone on standard output, for cp "$(nimblesite tenant quiesce Acme)" elsewhere.
      print({ id, standalone, path }, standalone ? `${path}\n` : '');
      note(
        standalone
          ? "It stands alone: cp is safe until the tenant's next request."
          : `${path} does not stand alone: another program has it open, or it is just being copied; a plain cp would not be whole.`,
      );
      return standalone ? EXIT.ok : EXIT.refused;
    },
  });
}
