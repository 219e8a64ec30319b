import { Option } from 'commander';
import type { Leaf } from '../cli.ts';
import { CliError, EXIT, type Io } from '../io.ts';
import { facts, plural, table } from '../output.ts';
import { findTenant, listAll, orMissing, TENANTS } from '../session.ts';

interface TokenRow {
  id: string;
  name: string;
  role: string;
  created_at: string;
  last_used_at: string | null;
  revoked_at: string | null;
}

interface ProviderKeyRow {
  name: string;
  last4: string;
  updated_at: string;
}

const TOKENS = '/api/v1/admin/tokens';
/** A key has at most 4096 characters; more than this is another thing altogether. */
const SECRET_CHARS_MAX = 10_000;

/** Commands about who may administer the server. */
export function addAdminTokenCommands(leaf: Leaf): void {
  leaf<{ role: string }>({
    usage: 'create <name>',
    summary: 'make an admin token; it is shown this once',
    options: [
      new Option(
        '--role <role>',
        "auditor: look, but not at tenants' data; operator: all but admin tokens and the master key; owner: everything",
      )
        .choices(['auditor', 'operator', 'owner'])
        .default('operator'),
    ],
    examples: ['create Ada', 'create monitoring --role auditor'],
    async run({ api, args, options: { role }, print }) {
      const made = await api.send<TokenRow & { token: string }>('POST', TOKENS, { name: args[0], role });
      const pairs = [
        ['id', made.id],
        ['name', made.name],
        ['role', made.role],
        ['token', made.token],
      ] as const;
      print(made, `${facts(pairs)}The token is shown this once.\n`);
    },
  });

  leaf({
    usage: 'list',
    summary: 'list admin tokens; none of their texts is kept',
    examples: ['list'],
    async run({ io, api, print }) {
      const rows: TokenRow[] = [];
      for await (const row of listAll<TokenRow>(api, TOKENS)) rows.push(row);
      const text = table(
        io,
        [
          { title: 'ID', of: (token) => token.id, whole: true },
          { title: 'NAME', of: (token) => token.name },
          { title: 'ROLE', of: (token) => token.role, whole: true },
          { title: 'LAST USED', of: (token) => token.last_used_at },
          { title: 'REVOKED', of: (token) => token.revoked_at },
        ],
        rows,
      );
      print({ data: rows }, text);
    },
  });

  leaf({
    usage: 'revoke <token-id>',
    summary: 'refuse an admin token from the very next request on',
    examples: ['revoke 01a2b3c4-0000-7000-8000-000000000000'],
    async run({ api, args, print }) {
      const [id = ''] = args;
      await orMissing(
        api.send('DELETE', `${TOKENS}/${encodeURIComponent(id)}`),
        `There is no admin token with the id "${id}"; see "nimblesite admin-token list".`,
      );
      print({ id, revoked: true }, `${id} opens nothing any more.\n`);
    },
  });
}

/** Commands about the key that tenants' provider keys are sealed with. */
export function addMasterKeyCommands(leaf: Leaf): void {
  leaf<{ dropUnopenable?: boolean }>({
    usage: 'rotate',
    summary: "make a new master key and seal every tenant's provider keys with it",
    options: [new Option('--drop-unopenable', 'give up the provider keys that the master key does not open')],
    examples: ['rotate'],
    async run({ api, options: { dropUnopenable = false }, print }) {
      const done = await api.send<{ resealed: number; dropped: number }>(
        'POST',
        '/api/v1/admin/master-key/rotate',
        { drop_unopenable: dropUnopenable },
      );
      const dropped = done.dropped > 0 ? `, ${done.dropped} given up` : '';
      print(
        done,
        `${plural(done.resealed, 'provider key')} sealed with a new master key${dropped}. Copy master.key to where you keep the old one.\n`,
      );
    },
  });
}

/** Commands about tenants' own keys at providers. */
export function addProviderKeyCommands(leaf: Leaf): void {
  const pathOf = (tenantId: string, provider: string) =>
    `${TENANTS}/${tenantId}/providers/${encodeURIComponent(provider)}`;

  leaf({
    usage: 'set <tenant> <provider>',
    summary:
      "give a tenant a key of its own at a provider, read from standard input, used before the server's",
    examples: ['set Acme openai < key.txt'],
    async run({ io, api, args, print }) {
      const [wanted = '', provider = ''] = args;
      const { id } = await findTenant(api, wanted);
      const put = api.send<ProviderKeyRow>('PUT', pathOf(id, provider), { api_key: await readSecret(io) });
      const key = await orMissing(put, `There is no provider "${provider}".`);
      const shown = key.last4 === '' ? '' : `, which ends with ${key.last4},`;
      print(key, `The key${shown} is used from the tenant's next turn on.\n`);
    },
  });

  leaf({
    usage: 'list <tenant>',
    summary: "list a tenant's own keys at providers; none of them is shown",
    examples: ['list Acme'],
    async run({ io, api, args, print }) {
      const { id } = await findTenant(api, args[0] ?? '');
      const rows: ProviderKeyRow[] = [];
      for await (const row of listAll<ProviderKeyRow>(api, `${TENANTS}/${id}/providers`)) rows.push(row);
      const text = table(
        io,
        [
          { title: 'PROVIDER', of: (key) => key.name, whole: true },
          { title: 'ENDS WITH', of: (key) => (key.last4 === '' ? null : key.last4) },
          { title: 'UPDATED', of: (key) => key.updated_at },
        ],
        rows,
      );
      print({ data: rows }, text);
    },
  });

  leaf({
    usage: 'delete <tenant> <provider>',
    summary: "remove a tenant's own key at a provider",
    examples: ['delete Acme openai'],
    async run({ api, args, print }) {
      const [wanted = '', provider = ''] = args;
      const { id } = await findTenant(api, wanted);
      await orMissing(
        api.send('DELETE', pathOf(id, provider)),
        `The tenant has no key of its own at "${provider}"; see "nimblesite provider-key list ${id}".`,
      );
      print({ name: provider, tenant_id: id, deleted: true }, `The key at ${provider} is gone.\n`);
    },
  });
}

/** A secret from standard input: as an option it would stand in the list of processes. */
async function readSecret({ stdin, stderr }: Io): Promise<string> {
  if (stdin.isTTY) stderr.write('The key, then Ctrl-D: ');
  let text = '';
  for await (const chunk of stdin) {
    text += chunk.toString();
    if (text.length > SECRET_CHARS_MAX) break;
  }
  if (text.trim() === '')
    throw new CliError(EXIT.usage, 'The key is read from standard input, and there is none.');
  return text.trim();
}
