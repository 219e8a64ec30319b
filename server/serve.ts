import { systemClock } from '../tenant-schema/clock.ts';
import { localUrl } from './address.ts';
import { type Config, ConfigError, type Environment, loadConfig } from './config.ts';
import { StartError } from './data-folder.ts';
import type { FirstRun } from './first-run.ts';
import { createServer, type Server } from './server.ts';
import { createLog } from './telemetry/log.ts';

/** A Ctrl-C reaches a server that runs under make twice; signals this close together are one. */
const SAME_SIGNAL_MS = 2000;

const say = (line: string) => process.stdout.write(`${line}\n`);
const complain = (line: string) => process.stderr.write(`${line}\n`);

function showOnce({ adminToken, demo }: FirstRun, url: string): void {
  if (adminToken !== null) {
    say(`Admin token (shown this once, keep it): ${adminToken}`);
  }
  if (demo !== null) {
    say('A first reply (shown this once):');
    say(
      `curl -sS ${localUrl(url)}/api/v1/chat/${demo.configId} -H 'X-API-Key: ${demo.apiKey}' -d '{"message":"Hello"}'`,
    );
  }
}

/** Runs the server until a signal ends it; gives the exit code. */
async function run(config: Config): Promise<void> {
  const log = createLog({ level: config.logLevel });
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'the server failed and ends');
    process.exit(1);
  });

  let server: Server | undefined;
  let signalledAt: number | undefined;
  const stop = async () => {
    await server?.close();
    process.exit(0);
  };
  const onSignal = () => {
    const now = systemClock.monotonic();
    if (signalledAt !== undefined) {
      if (now - signalledAt > SAME_SIGNAL_MS) process.exit(1);
      return;
    }
    signalledAt = now;
    log.info('draining');
    // While it still starts, it ends as soon as it has.
    if (server) void stop();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  // Without a file there is nothing to read again, and a terminal that closes ends the server as ever.
  if (config.pricesFile !== null) process.on('SIGHUP', () => server?.reloadPrices());

  server = await createServer(config, { log });
  void server.failed.then(async (reason) => {
    complain(reason);
    await server?.close();
    process.exit(1);
  });
  const { url } = await server.listen();
  showOnce(server.firstRun, url);
  say(`The console: ${url}/console`);
  say(`listening on ${url}`);
  if (signalledAt !== undefined) await stop();
}

/**
 * The server as a process: it ends with code 0 after a signal, 2 for a setting that cannot be used, and 1 where it
 * cannot start. Resolves once it listens.
 */
export async function serve(environment?: Environment): Promise<void> {
  // SQLite makes files of its own beside ours; none is for others.
  process.umask(0o077);
  try {
    await run(loadConfig(environment));
  } catch (error) {
    if (error instanceof ConfigError) {
      complain(error.message);
      process.exit(2);
    }
    complain(
      error instanceof StartError
        ? error.message
        : `the server cannot start: ${error instanceof Error ? error.stack : String(error)}`,
    );
    process.exit(1);
  }
}
