import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { get as httpGet } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ClientSettings, loadClientSettings } from '../config.ts';
import { type Announcement, announced, isProof } from '../data-folder.ts';
import { CHALLENGE_HEADER, PROOF_HEADER } from '../http/proof.ts';
import type { Server } from '../server.ts';
import { type Api, createApi, HOW_TO_GIVE_TOKEN } from './api.ts';
import { becomeServer } from './direct.ts';
import { CliError, EXIT, type Io } from './io.ts';
import { whileWaiting } from './output.ts';

const LOCK_RETRY_MS = 100;
/** A server that is so busy that it cannot say who it is in this time is asked again. */
const PROOF_MS_MAX = 2000;

/** Where a command looks for its server; every command has these options. */
export interface ConnectOptions {
  dataDir?: string;
  url?: string;
  adminTokenFile?: string;
  /** Warnings are JSON too. */
  json?: boolean;
}

/** A server to speak to: the one that runs, or one inside this process. */
export interface Connection {
  api: Api;
  /** Null where the data are on another machine, as far as this command knows. */
  dataDir: string | null;
  /** The server inside this process, where no other owns the folder. */
  direct: Server | null;
  close(): Promise<void>;
}

/**
 * Finds the server of the data folder, or becomes it: the folder's lock decides, so that there are never two.
 * @param mayCreate whether a folder that is not there yet is made
 * @throws `CliError` when the server cannot be reached or no token for it is given
 */
export async function connect(io: Io, options: ConnectOptions, mayCreate: boolean): Promise<Connection> {
  const { dataDir, url, adminToken } = settingsOf(io, options);
  const token = () => {
    const given = options.adminTokenFile === undefined ? adminToken : readToken(options.adminTokenFile);
    if (given !== null) return given;
    throw new CliError(EXIT.unreachable, `This server asks for the admin token. ${HOW_TO_GIVE_TOKEN}`);
  };
  if (url !== null) return remote(io, url, token(), null);

  if (!mayCreate && !isThere(join(dataDir, 'tenants'))) {
    throw new CliError(EXIT.notFound, `There is no data folder at ${dataDir}; set DATA_DIR or --data-dir.`);
  }
  const deadline = io.clock.monotonic() + io.lockWaitMs;
  for (;;) {
    // Asked first: who proves to be the server has the lock, and a whole server need not be loaded to try for it.
    const there = announced(dataDir);
    if (there !== null && (await isOurs(there))) return remote(io, there.url, token(), dataDir);
    const becoming = becomeServer(io, dataDir, options.json ?? false);
    const direct = await whileWaiting(io, 'Opening', becoming);
    if (direct) return direct;
    // Another command that is about to end, a server that is about to say where it listens, or one that ends.
    if (io.clock.monotonic() >= deadline) {
      throw new CliError(
        EXIT.refused,
        `Another nimblesite command, or a server that is just starting, owns ${dataDir}; try again when it is done.`,
      );
    }
    await delay(LOCK_RETRY_MS);
  }
}

/** What may not be looked at is there: whoever opens the folder says why that cannot be. */
function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EACCES';
  }
}

/**
 * Whether the run of the server that wrote this down is the one that listens there. The token of an admin must not be
 * sent to whoever has taken the address since.
 */
function isOurs({ url, runSecret }: Announcement): Promise<boolean> {
  const challenge = randomBytes(32).toString('base64url');
  return new Promise((resolve) => {
    const request = httpGet(
      `${url}/healthz`,
      // A connection of its own, which is closed after the answer.
      { agent: false, headers: { [CHALLENGE_HEADER]: challenge }, signal: AbortSignal.timeout(PROOF_MS_MAX) },
      (response) => {
        const proof = response.headers[PROOF_HEADER];
        resolve(typeof proof === 'string' && isProof(runSecret, challenge, proof));
        response.destroy();
      },
    );
    request.on('error', () => resolve(false));
  });
}

export function settingsOf(io: Io, options: ConnectOptions): ClientSettings {
  return loadClientSettings({
    ...io.env,
    ...(options.dataDir !== undefined && { DATA_DIR: options.dataDir }),
    ...(options.url !== undefined && { NIMBLESITE_URL: options.url }),
  });
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(EXIT.usage, `The admin token file cannot be read: ${reason}`);
  }
}

function remote(io: Io, url: string, token: string, dataDir: string | null): Connection {
  const api = createApi(io, url, token);
  return { api, dataDir, direct: null, close: async () => api.close() };
}
