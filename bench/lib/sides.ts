import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BareListening, BareRequest } from '../bare.ts';
import { type Admin, createAdmin } from './admin.ts';
import type { PlainTarget, Target } from './load.ts';
import type { Bench, Listening } from './processes.ts';
import type { Settings } from './settings.ts';

// The servers that are measured beside each other.

/** A server with somebody to chat with. */
export interface Side extends Listening {
  targets: Target[];
  /** Those that there are already, of the first target. */
  conversationIds?: string[];
}

/**
 * With the newest server library that its range allows every stream of Portkey fails on immutable headers; with the older
 * one of the second a turn takes a tenth more CPU. Each is measured at its best.
 */
const PORTKEY = { plain: '@portkey-ai/gateway', streams: 'portkey-for-streams' };
const ON_LOOPBACK = fileURLToPath(new URL('./on-loopback.mjs', import.meta.url));
const ADMIN_TOKEN = 'bench-admin-token-of-one-run';
const MESSAGES = [{ role: 'user', content: 'How do I change the opening hours on my page?' }];

interface SideOptions {
  cpus: Settings['cpus'];
  upstreamUrl: string;
  probed?: boolean;
}

export interface ProductOptions extends SideOptions {
  /** Of its data, below the benchmark's own. */
  folder: string;
  env?: Record<string, string>;
  /** The `main.js` of another version. */
  main?: string | undefined;
}

/** Starts the compiled server with the model's API behind it. */
export async function startProduct(
  bench: Bench,
  { cpus, upstreamUrl, folder, env = {}, main, probed = false }: ProductOptions,
): Promise<Listening & { admin: Admin; adminToken: string; dataDir: string }> {
  const dataDir = join(bench.folder, folder);
  const listening = await bench.server({
    main,
    probed,
    cpus: cpus?.server ?? null,
    env: {
      PORT: '0',
      DATA_DIR: dataDir,
      ADMIN_TOKEN,
      OPENAI_API_KEY: 'none',
      OPENAI_BASE_URL: upstreamUrl,
      LOG_LEVEL: 'error',
      // A loop that is late shall show in the figures, not as refused turns.
      LOOP_DELAY_MAX_MS: '60000',
      ...env,
    },
  });
  return { ...listening, admin: createAdmin(listening.url, ADMIN_TOKEN), adminToken: ADMIN_TOKEN, dataDir };
}

/** The server with one tenant. */
export async function productSide(bench: Bench, options: ProductOptions): Promise<Side> {
  const { admin, ...listening } = await startProduct(bench, options);
  return { ...listening, targets: [await admin.makeChatter('Tenant')] };
}

/** The same work done by hand. */
export async function bareSide(
  bench: Bench,
  cpus: Settings['cpus'],
  options: Omit<BareRequest, 'folder'> & { folder: string },
): Promise<Side> {
  const worker = bench.worker('../bare.ts', { cpus: cpus?.server ?? null });
  const folder = join(bench.folder, options.folder);
  const listening = await worker.ask<BareListening>({ ...options, folder });
  return { ...listening, pid: worker.pid };
}

/** Portkey's gateway, which keeps nothing; null where it is not installed (`npm ci` in `bench/`). */
export async function portkeySide(
  bench: Bench,
  use: keyof typeof PORTKEY,
  { cpus, upstreamUrl, probed = false }: SideOptions,
): Promise<Side | null> {
  const main = fileURLToPath(
    new URL(`../node_modules/${PORTKEY[use]}/build/start-server.js`, import.meta.url),
  );
  if (!existsSync(main)) return null;
  const listening = await bench.program(['--import', ON_LOOPBACK, main, '--port=0', '--headless'], {
    probed,
    cpus: cpus?.server ?? null,
    env: { NODE_ENV: 'production' },
  });
  const target = plainTarget('/v1/chat/completions');
  const headers = { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${upstreamUrl}/v1` };
  return { ...listening, targets: [{ ...target, headers: { ...target.headers, ...headers } }] };
}

/** What passes bytes on and does nothing else. */
export async function pipeSide(
  bench: Bench,
  { cpus, upstreamUrl, probed = false }: SideOptions,
): Promise<Side> {
  const worker = bench.worker('pipe.ts', { cpus: cpus?.server ?? null, probed });
  const url = await worker.ask<string>({ upstreamUrl });
  return { url, pid: worker.pid, targets: [plainTarget('/v1/chat/completions')] };
}

/** The model's API itself. */
export const directSide = (upstreamUrl: string, pid: number): Side => ({
  url: upstreamUrl,
  pid,
  targets: [plainTarget('/v1/chat/completions')],
});

function plainTarget(path: string): PlainTarget {
  return {
    path,
    headers: { 'content-type': 'application/json', authorization: 'Bearer none' },
    body: JSON.stringify({ model: 'bench', messages: MESSAGES }),
  };
}

/** The target's request for an answer in pieces. */
export function streamTarget(target: Target): PlainTarget {
  if ('path' in target) {
    return { ...target, body: JSON.stringify({ model: 'bench', messages: MESSAGES, stream: true }) };
  }
  return {
    path: `/api/v1/chat/${target.configId}`,
    headers: { 'content-type': 'application/json', 'x-api-key': target.apiKey },
    body: JSON.stringify({ message: MESSAGES[0]?.content, stream: true }),
  };
}
