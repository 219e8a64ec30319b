import { loadConfig } from '../../server/config.ts';
import { createServer } from '../../server/server.ts';
import { NEXT_MIGRATIONS } from './next-schema.ts';

// The whole server as a release to come will be: there is something to migrate. Backups are due at SIGUSR2.

const server = await createServer(loadConfig(), { tenantMigrations: NEXT_MIGRATIONS });
process.on('SIGTERM', () => void server.close().then(() => process.exit(0)));
process.on('SIGUSR2', () => void server.operations.background.schedule.run());
const { url } = await server.listen();
process.stdout.write(`listening on ${url}\n`);
