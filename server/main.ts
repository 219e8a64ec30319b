import { systemClock } from '../tenant-schema/clock.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { StartError } from './data-folder.ts';
import { createServer, type FirstRun, type Server, urlOf } from './server.ts';
import { createLog } from './telemetry/log.ts';

/** A Ctrl-C reaches a server that runs under make twice; signals this close together are one. */
const SAME_SIGNAL_MS = 2000;

const say = (line: string) => process.stdout.write(`${line}\n`);
const complain = (line: string) => process.stderr.write(`${line}\n`);

/** Where a client on this machine finds a server that listens on every address. */
function localUrl(url: string): string {
  const { hostname, port } = new URL(url);
  const everywhere: Record<string, string> = { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' };
  return `http://${everywhere[hostname] ?? hostname}:${port || '80'}`;
}

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

  const started = await createServer(config, { log });
  try {
    const { url } = await started.listen();
    showOnce(started.firstRun, url);
    say(`listening on ${url}`);
  } catch (error) {
    // What was made is kept, so what is shown once must be shown now.
    showOnce(started.firstRun, urlOf(config.host, config.port));
    await started.close();
    throw error;
  }
  server = started;
  if (signalledAt !== undefined) await stop();
}

// SQLite makes files of its own beside ours; none is for others.
process.umask(0o077);
try {
  await run(loadConfig());
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
