import { InvalidArgumentError, Option } from 'commander';
import type { Leaf } from '../cli.ts';
import { facts, table } from '../output.ts';
import { findTenant, listAll, orMissing, TENANTS } from '../session.ts';

interface KeyRow {
  id: string;
  name: string;
  scopes: string[];
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}

function parseSeconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of seconds.');
  return Number(text);
}

const noKey = (tenantId: string, keyId: string): string =>
  `The tenant has no key ${keyId} in force; see "nimblesite key list ${tenantId}".`;

/** Commands about the API keys of one tenant. */
export function addKeyCommands(leaf: Leaf): void {
  leaf<{ name: string; scope?: string[]; expiresAt?: string }>({
    usage: 'create <tenant>',
    summary: 'make an API key; it is shown this once',
    options: [
      new Option('--name <name>', 'what it is for').default('command line'),
      new Option('--scope <scope...>', 'what it may do; default: everything').choices([
        'chat',
        'read',
        'manage',
      ]),
      new Option('--expires-at <time>', 'as 2027-01-31 or 2027-01-31T12:00:00Z'),
    ],
    examples: ['create Acme --name website --scope chat', 'create Acme --expires-at 2027-01-31'],
    async run({ api, args, options: { name, scope, expiresAt }, print }) {
      const { id } = await findTenant(api, args[0] ?? '');
      const key = await api.send<KeyRow & { api_key: string }>('POST', `${TENANTS}/${id}/keys`, {
        name,
        ...(scope && { scopes: scope }),
        ...(expiresAt !== undefined && { expires_at: expiresAt }),
      });
      const pairs = [
        ['id', key.id],
        ['tenant', id],
        ['scopes', key.scopes.join(' ')],
        ['expires', key.expires_at],
        ['api key', key.api_key],
      ] as const;
      print(key, `${facts(pairs)}The key is shown this once.\n`);
    },
  });

  leaf({
    usage: 'list <tenant>',
    summary: 'list the keys of a tenant; none of their secrets is kept',
    examples: ['list Acme'],
    async run({ io, api, args, print }) {
      const { id } = await findTenant(api, args[0] ?? '');
      const rows: KeyRow[] = [];
      for await (const row of listAll<KeyRow>(api, `${TENANTS}/${id}/keys`)) rows.push(row);
      const text = table(
        io,
        [
          { title: 'ID', of: (key) => key.id, whole: true },
          { title: 'NAME', of: (key) => key.name },
          { title: 'SCOPES', of: (key) => key.scopes.join(' ') },
          { title: 'LAST USED', of: (key) => key.last_used_at },
          { title: 'EXPIRES', of: (key) => key.expires_at },
          { title: 'REVOKED', of: (key) => key.revoked_at },
        ],
        rows,
      );
      print({ data: rows }, text);
    },
  });

  leaf<{ overlap?: number }>({
    usage: 'rotate <tenant> <key-id>',
    summary: 'give a key a new secret; it is shown this once',
    options: [
      new Option(
        '--overlap <seconds>',
        'how long the old secret goes on working; default: not at all',
      ).argParser(parseSeconds),
    ],
    examples: ['rotate Acme 01a2b3c4-0000-7000-8000-000000000000 --overlap 86400'],
    async run({ api, args, options: { overlap = 0 }, print }) {
      const [wanted = '', keyId = ''] = args;
      const { id } = await findTenant(api, wanted);
      const path = `${TENANTS}/${id}/keys/${encodeURIComponent(keyId)}/rotate`;
      const rotated = api.send<KeyRow & { api_key: string }>('POST', path, { overlap_seconds: overlap });
      const key = await orMissing(rotated, noKey(id, keyId));
      const pairs = [
        ['id', key.id],
        ['tenant', id],
        ['api key', key.api_key],
      ] as const;
      const fate = overlap === 0 ? 'opens nothing any more' : `works for ${overlap} seconds more`;
      print(key, `${facts(pairs)}The key is shown this once. The one before it ${fate}.\n`);
    },
  });

  leaf({
    usage: 'revoke <tenant> <key-id>',
    summary: 'refuse a key from the very next request on',
    examples: ['revoke Acme 01a2b3c4-0000-7000-8000-000000000000'],
    async run({ api, args, print }) {
      const [wanted = '', keyId = ''] = args;
      const { id } = await findTenant(api, wanted);
      const path = `${TENANTS}/${id}/keys/${encodeURIComponent(keyId)}`;
      await orMissing(api.send('DELETE', path), noKey(id, keyId));
      print({ id: keyId, tenant_id: id, revoked: true }, `${keyId} opens nothing any more.\n`);
    },
  });
}
