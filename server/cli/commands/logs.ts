import { InvalidArgumentError, Option } from 'commander';
import type { Leaf } from '../cli.ts';
import { EXIT } from '../io.ts';
import { plural } from '../output.ts';
import { findTenant } from '../session.ts';
import { follow } from './fleet.ts';

interface Pruned {
  tenants: number;
  removed: number;
  failed: { tenant_id: string; reason: string }[];
}

function parseDays(text: string): number {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (days < 1 || days > 36_500) throw new InvalidArgumentError('It must be a number from 1 to 36500.');
  return days;
}

/** Commands about log rows. */
export function addLogCommands(leaf: Leaf): void {
  leaf<{ tenant?: string; days?: number }>({
    usage: 'prune',
    summary: 'remove the log rows that are kept no longer, now; usage stays',
    options: [
      new Option('--tenant <tenant>', 'of one tenant only, by its id or name'),
      new Option(
        '--days <count>',
        "how many days before today are kept; default: the running server's LOG_DAYS",
      ).argParser(parseDays),
    ],
    examples: ['prune', 'prune --tenant Acme --days 30 --json'],
    async run(session) {
      const { io, api, options, print } = session;
      const tenant = options.tenant === undefined ? null : await findTenant(api, options.tenant);
      const body = {
        ...(tenant && { tenant_id: tenant.id }),
        ...(options.days !== undefined && { days: options.days }),
      };
      const done = await follow<Pruned>(
        session,
        'Pruning',
        '/api/v1/admin/logs/prune',
        body,
        (name, data, clearBar) => {
          if (name !== 'failed' || options.json) return;
          clearBar();
          io.stderr.write(`${String(data.tenant_id)}: ${String(data.reason)}\n`);
        },
      );
      const { tenants, removed, failed } = done;
      const rows = `${plural(removed, 'row')} of ${plural(tenants, 'tenant')} removed`;
      print(done, `${rows}${failed.length > 0 ? `, ${plural(failed.length, 'tenant')} failed` : ''}.\n`);
      return failed.length > 0 ? EXIT.someFailed : EXIT.ok;
    },
  });
}
