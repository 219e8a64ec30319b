import { randomSecret } from '../../control-plane/key-format.ts';
import { ConfigError, loadConfig } from '../config.ts';
import { FolderInUseError, StartError } from '../data-folder.ts';
import type { Server } from '../server.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import { createApi } from './api.ts';
import type { Connection } from './connect.ts';
import { CliError, EXIT, type Io } from './io.ts';

const IF_DAMAGED =
  'Where control.db is damaged, put a backup in its place, or move it away and run "nimblesite doctor --rebuild-control".';

/** A server inside this process, with the folder's lock; null where another process has it. */
export async function becomeServer(io: Io, dataDir: string, json: boolean): Promise<Connection | null> {
  const token = `nba_${randomSecret()}`;
  const config = loadConfig({
    ...io.env,
    DATA_DIR: dataDir,
    HOST: '127.0.0.1',
    PORT: '0',
    // For a server that stays; here it would replace the stored one.
    ADMIN_TOKEN: '',
    BACKUP_EVERY: '',
  });
  const { createServer } = await io.loadServer();
  const log = quietLog(io, json);
  let server: Server;
  try {
    server = await createServer(config, { log, internalAdminToken: token, overloaded: () => false });
  } catch (error) {
    if (error instanceof FolderInUseError) return null;
    if (error instanceof ConfigError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(
      EXIT.failed,
      error instanceof StartError
        ? reason
        : `The data in ${dataDir} cannot be opened: ${reason.replace(/\.$/, '')}. ${IF_DAMAGED}`,
    );
  }
  try {
    const { url } = await server.listen();
    const api = createApi(io, url, token);
    return {
      api,
      dataDir,
      direct: server,
      async close() {
        api.close();
        await server.close();
      },
    };
  } catch (error) {
    await server.close();
    throw error;
  }
}

/** Only what an operator should know, in one line each. */
function quietLog(io: Io, json: boolean): Log {
  const write = (text: string) => {
    const { msg, err, tenant_id } = JSON.parse(text) as {
      msg?: string;
      err?: { message?: string };
      tenant_id?: string;
    };
    const about = [tenant_id, err?.message].filter(Boolean).join(': ');
    const message = `${msg ?? 'something went wrong'}${about && ` (${about})`}`;
    io.stderr.write(json ? `${JSON.stringify({ warning: { message } })}\n` : `warning: ${message}\n`);
  };
  return createLog({ level: 'warn', destination: { write } });
}
