import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Client, createClient, type Json } from '../support/http.ts';
import { type ServerProcess, startServerProcess } from '../support/process.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const ADMIN_TOKEN = 'workers-admin-token-0123456789';
/** Each request on a connection of its own: they go to the workers in turn. */
const FRESH = { Connection: 'close' };

export interface CrewedTenant {
  id: string;
  apiKey: string;
  client: Client;
  configId: string;
}

/** A real server of several processes, with the scripted upstream. */
export interface CrewedServer {
  process: ServerProcess;
  upstream: Upstream;
  dataDir: string;
  admin: Client;
  as(apiKey: string, headers?: Record<string, string>): Client;
  /** A tenant with a config that asks the scripted upstream. */
  tenant(input?: Json): Promise<CrewedTenant>;
  /** The process ids of the workers that have served so far, in that order. */
  pids(): number[];
  /** Resolves when so many workers have served, the first ones and those that came after them. */
  served(count: number): Promise<void>;
  /** Resolves when the first process knows of a worker that has died. A connection given to it before that is lost. */
  mourned(): Promise<void>;
  /** Names in a folder under the data folder. */
  files(folder: string): Promise<string[]>;
  stop(): Promise<void>;
}

export interface CrewedOptions {
  env?: Record<string, string>;
  /** True signals all processes, as Ctrl-C in a terminal does. */
  group?: boolean;
  /** A folder to serve again, and its upstream. */
  again?: Pick<CrewedServer, 'dataDir' | 'upstream'>;
}

export async function startCrewed({
  env = {},
  group = false,
  again,
}: CrewedOptions = {}): Promise<CrewedServer> {
  const upstream = again?.upstream ?? (await startUpstream());
  const dataDir = again?.dataDir ?? (await mkdtemp(join(tmpdir(), 'nimblesite-workers-')));
  const server = await startServerProcess({
    group,
    env: {
      WORKERS: '2',
      PORT: '0',
      DATA_DIR: dataDir,
      ADMIN_TOKEN,
      OPENAI_API_KEY: 'sk-test-server',
      OPENAI_BASE_URL: upstream.openaiUrl,
      UPSTREAM_RETRIES: '0',
      // On a machine with few processors, whose delays are not what is tested.
      LOOP_DELAY_MAX_MS: '60000',
      ...env,
    },
  });
  const as = (apiKey: string, headers = {}) =>
    createClient(server.url, { 'X-API-Key': apiKey, ...FRESH, ...headers });
  const admin = createClient(server.url, { Authorization: `Bearer ${ADMIN_TOKEN}`, ...FRESH });
  const pids = () =>
    [...server.output().matchAll(/"pid":(\d+),"msg":"a worker serves"/g)].map(([, pid]) => Number(pid));
  return {
    process: server,
    upstream,
    dataDir,
    admin,
    as,
    async tenant(input = {}) {
      const made = await admin.post('/api/v1/admin/tenants', { name: 'Acme', ...input });
      expect(made.status, made.text).to.equal(201);
      const apiKey = String(made.body.api_key);
      const client = as(apiKey);
      return { id: String(made.body.id), apiKey, client, configId: await createConfig(client, 'Assistant') };
    },
    pids,
    async served(count) {
      while (pids().length < count && server.child.stderr) await once(server.child.stderr, 'data');
    },
    async mourned() {
      while (!server.output().includes('a worker died') && server.child.stderr)
        await once(server.child.stderr, 'data');
    },
    files: async (folder) => (await readdir(join(dataDir, folder))).filter((name) => !name.startsWith('.')),
    async stop() {
      await server.end('SIGTERM');
      await upstream.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export async function createConfig(client: Client, name: string, model = 'gpt-test'): Promise<string> {
  const made = await client.post('/api/v1/configs', {
    name,
    system_prompt: '',
    model_config: { provider: 'openai', model, max_tokens: 100 },
  });
  expect(made.status, made.text).to.equal(201);
  return String(made.body.id);
}

/** The same request several times, one after the other, so that each worker gets its part. */
export async function inTurn<T>(count: number, ask: () => Promise<T>): Promise<T[]> {
  const answers: T[] = [];
  for (let at = 0; at < count; at += 1) answers.push(await ask());
  return answers;
}

export const statuses = (replies: readonly { status: number }[]): number[] =>
  replies.map(({ status }) => status).sort();

/** Whether a process of this id is there. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
