import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { join, relative } from 'node:path';
import { type Config, ConfigError } from './config.ts';
import { StartError } from './data-folder.ts';

// Where the server listens: for clients, and for its own workers.

/** `http://` and the host, in brackets where it is an IPv6 address. */
const urlOf = (host: string, port: number): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** Where a client on this machine finds a server that listens on every address. */
export function localUrl(url: string): string {
  const { hostname, port } = new URL(url);
  const everywhere: Record<string, string> = { '0.0.0.0': '127.0.0.1', '[::]': '[::1]' };
  return `http://${everywhere[hostname] ?? hostname}:${port || '80'}`;
}

/** What the system says of a host that it cannot listen on. */
const NO_SUCH_HOST = ['EADDRNOTAVAIL', 'ENOTFOUND', 'EAI_AGAIN', 'EINVAL', 'EAFNOSUPPORT'];

/**
 * Listens where the settings say.
 * @throws `ConfigError` for a host that this machine has not; `StartError` for a port that is taken
 */
export async function bind(door: NetServer, { host, port }: Config): Promise<{ url: string }> {
  door.listen(port, host);
  try {
    await once(door, 'listening');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (NO_SUCH_HOST.includes(code)) throw new ConfigError('HOST', 'an address of this machine');
    const reason = code === 'EADDRINUSE' ? 'the port is in use' : String(error);
    throw new StartError(`cannot listen on ${urlOf(host, port)}: ${reason}; set PORT to another one`, {
      cause: error,
    });
  }
  return { url: urlOf(host, (door.address() as AddressInfo).port) };
}

/** What the system lets the path of a socket have, with some to spare. */
const SOCKET_PATH_BYTES_MAX = 100;

/**
 * Takes what workers pass on, at a path that only the server's own user reaches.
 * @throws `ConfigError` where the path of the data folder is too long for that
 */
export async function openWorkersDoor(door: NetServer, dataDir: string): Promise<string> {
  const absolute = join(dataDir, 'workers.sock');
  // Workers are in the same folder as this process.
  const [path = absolute] = [absolute, relative(process.cwd(), absolute)].sort((a, b) => a.length - b.length);
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    throw new ConfigError('DATA_DIR', 'a folder with a shorter path where WORKERS is more than 1');
  }
  // What a killed server has left.
  rmSync(path, { force: true });
  door.listen(path);
  await once(door, 'listening');
  chmodSync(path, 0o600);
  return path;
}
