import { systemClock } from '../../tenant-schema/clock.ts';
import { TENANT_MIGRATIONS } from '../../tenant-schema/sqlite/migrations.ts';
import { defineMigrations } from '../../tenant-schema/sqlite/migrator.ts';
import { type FleetRequest, NEXT_VERSION, type Step, type StepRun } from './fleet-steps.ts';
import { answerWith } from './processes.ts';

// The product's side: the whole server in a process of its own, asked without HTTP.

type ServerModule = typeof import('../../server/server.ts');
type ConfigModule = typeof import('../../server/config.ts');

/** The compiled program, as it is run; with the types of its sources. */
const load = async <T>(path: string): Promise<T> =>
  (await import(new URL(`../../dist/server/${path}`, import.meta.url).href)) as T;
const { createServer } = await load<ServerModule>('server.js');
const { loadConfig } = await load<ConfigModule>('config.js');

const ACTOR = { id: 'bench', name: 'bench', requestId: null };
const tenants: string[] = [];
let server: Awaited<ReturnType<ServerModule['createServer']>> | null = null;

function open(dataDir: string, step: Step): ReturnType<ServerModule['createServer']> {
  const steps = step === 'create' ? TENANT_MIGRATIONS : [...TENANT_MIGRATIONS, NEXT_VERSION];
  return createServer(
    loadConfig({
      PORT: '0',
      DATA_DIR: dataDir,
      ADMIN_TOKEN: 'bench-admin-token-of-one-run',
      LOG_LEVEL: 'silent',
    }),
    { tenantMigrations: defineMigrations(steps) },
  );
}

async function run(step: Step, from: number, to: number): Promise<StepRun> {
  if (!server) throw new Error('The server is not open.');
  const { operations } = server;
  const startedAt = systemClock.monotonic();
  for (let index = from; index < to; index += 1) {
    const id = tenants[index] ?? '';
    if (step === 'create') {
      const { tenant } = await operations.tenants.create({ name: `Tenant ${index}` }, ACTOR);
      tenants.push(tenant.id);
    } else if (step === 'migrate') {
      await operations.migrate(id);
    } else {
      await operations.backups.create(id, 'manual', ACTOR);
    }
  }
  return { ms: systemClock.monotonic() - startedAt };
}

answerWith(async (request: FleetRequest) => {
  if (request.kind === 'run') return run(request.step, request.from, request.to);
  await server?.close();
  server = request.kind === 'open' ? await open(request.folder, request.step) : null;
  return null;
});
