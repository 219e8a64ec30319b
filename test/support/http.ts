import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import type { Config } from '../../server/config.ts';
import { loadConfig } from '../../server/config.ts';
import { problem } from '../../server/endpoints/common.ts';
import type { Endpoint } from '../../server/endpoints/endpoint.ts';
import { allEndpoints, namedSchemas } from '../../server/endpoints/index.ts';
import { openApiDocument } from '../../server/http/openapi.ts';
import type { Operations } from '../../server/operations/operations.ts';
import { createServer, type Overrides } from '../../server/server.ts';
import { createLog } from '../../server/telemetry/log.ts';
import { tellWorkersTime } from './worker-clock.ts';

export type Json = Record<string, unknown>;

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  /** The body where it is a JSON object, else empty. */
  body: Json;
}

export interface Download extends Reply {
  bytes: Buffer;
}

export interface StreamEvent {
  event: string;
  data: Json;
}

export interface ReplyStream {
  status: number;
  headers: Headers;
  /** The events as they come; ends with the stream. */
  events: AsyncGenerator<StreamEvent>;
  /** Leaves, as a client does whose user closed the page. */
  abort(): void;
}

/** Calls with one set of credentials. */
export interface Client {
  get(path: string): Promise<Reply>;
  post(path: string, body: unknown): Promise<Reply>;
  patch(path: string, body: unknown): Promise<Reply>;
  delete(path: string): Promise<Reply>;
  put(path: string, body: unknown): Promise<Reply>;
  chat(configId: string, body: Json, headers?: Record<string, string>): Promise<Reply>;
  stream(configId: string, body: Json, headers?: Record<string, string>): Promise<ReplyStream>;
}

export interface TestTenant {
  id: string;
  /** The text of its first key. */
  apiKey: string;
  client: Client;
}

export interface TestServer {
  url: string;
  dataDir: string;
  adminToken: string;
  admin: Client;
  tenant(apiKey: string): Client;
  createTenant(input?: Json): Promise<TestTenant>;
  /** Gives the new config's id; by default it asks the `demo` provider. */
  createConfig(client: Client, overrides?: Json): Promise<string>;
  /** What the server does with files by itself, to be done now. */
  operations: Operations;
  /** Asks for a file as the admin, or with the credentials given. */
  download(path: string, headers?: Record<string, string>): Promise<Download>;
  /** Sends a file to be imported. */
  upload(name: string, file: Uint8Array | string, headers?: Record<string, string>): Promise<Reply>;
  /** Any request, its answer checked as every other. */
  fetch(path: string, init?: RequestInit): Promise<Reply>;
  /** The lines of the log so far, parsed. */
  logs(): Json[];
  /** Resolves with the first line of the log, past or to come, that fits. */
  logged(fits: (line: Json) => boolean): Promise<Json>;
  /** Closes the server and keeps its folder. */
  close(): Promise<void>;
  /** Closes the server and removes its folder. */
  stop(): Promise<void>;
}

export interface TestServerOptions extends Overrides {
  /** Environment variables of the server. */
  env?: Record<string, string>;
  config?: Partial<Config>;
  /** A folder to serve again; by default a new one. */
  dataDir?: string;
}

/** `TEST_WORKERS=2` runs what is tested with so many processes; each request has a connection of its own then. */
const WORKERS = process.env.TEST_WORKERS ?? '';
const WORKER_PROGRAM = fileURLToPath(new URL('./worker.ts', import.meta.url));
/** On a busy machine with few processors the loop is late, which is not what is tested. */
const PATIENT = { LOOP_DELAY_MAX_MS: '60000' };
const FRESH = WORKERS === '' ? {} : { Connection: 'close' };
/** Called before each request, by the origin that it goes to. */
const beforeRequest = new Map<string, () => void>();

const ADMIN_TOKEN = 'test-admin-token-0123456789';

/** Argon2 takes 130 ms; what it promises is tested where it is used. */
const quickHasher = {
  hash: async (token: string) => `quick:${token}`,
  verify: async (hash: string, token: string) => hash === `quick:${token}`,
};

const ENDPOINTS = allEndpoints({ metricsPublic: false }).map((endpoint) => ({
  endpoint,
  pattern: new RegExp(`^${endpoint.path.replace(/:\w+/g, '[^/]+')}$`),
}));

function endpointOf(method: string, path: string): Endpoint | undefined {
  return ENDPOINTS.find(({ endpoint, pattern }) => endpoint.method === method && pattern.test(path))
    ?.endpoint;
}

/** What answers carry that is not of every server: a client has to read of it in the description. */
const OUR_HEADERS =
  /^(x-request-id|www-authenticate|retry-after|(x-)?ratelimit.*|idempotent-replayed|etag|(repr-)?digest|accept-ranges|content-(range|disposition))$/;
const { paths } = openApiDocument(allEndpoints({ metricsPublic: false }), namedSchemas) as {
  paths: Record<string, Record<string, { responses: Record<string, { headers?: Json }> }>>;
};

/** Expects the status and the headers of an endpoint's answer to stand in the API's description. */
function checkDescribed({ method, path }: Endpoint, { status, headers }: Reply): void {
  const described = paths[path.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()]?.responses;
  expect(Object.keys(described ?? {}), `the statuses of ${method} ${path}`).to.include(String(status));
  const names = Object.keys(described?.[status]?.headers ?? {}).map((name) => name.toLowerCase());
  const sent = [...headers.keys()].filter((name) => OUR_HEADERS.test(name));
  expect(names, `the headers of ${method} ${path} ${status}`).to.include.members(sent);
}

/** Fails the test where an answer is not what the API's description says. */
function checkReply(method: string, path: string, reply: Reply): void {
  const type = reply.headers.get('content-type') ?? '';
  const endpoint = endpointOf(method, path);
  if (endpoint) checkDescribed(endpoint, reply);
  expect(reply.headers.get('x-request-id'), 'every answer has a request id').to.match(/^[\w.:-]{1,128}$/);
  if (type.startsWith('application/problem+json')) {
    expect(problem.safeParse(reply.body).error?.message, reply.text).to.equal(undefined);
    expect(reply.body.status).to.equal(reply.status);
    expect(reply.body.request_id).to.equal(reply.headers.get('x-request-id'));
    return;
  }
  expect(reply.status, `${method} ${path}: ${reply.text}`).to.be.lessThan(400);
  if (endpoint?.response && type.startsWith('application/json')) {
    expect(reply.status).to.equal(endpoint.status);
    const fault = endpoint.response.safeParse(reply.body).error?.message;
    expect(fault, `${method} ${path}: ${reply.text}`).to.equal(undefined);
  }
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parseObject(text: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

/** Sends one request and reads its answer whole. */
export async function request(url: string, init: RequestInit = {}): Promise<Download> {
  beforeRequest.get(new URL(url).origin)?.();
  const response = await fetch(url, {
    ...init,
    headers: { ...FRESH, ...Object.fromEntries(new Headers(init.headers)) },
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const text = new TextDecoder().decode(bytes);
  const reply = { status: response.status, headers: response.headers, text, bytes, body: parseObject(text) };
  checkReply(init.method ?? 'GET', new URL(url).pathname, reply);
  return reply;
}

/** The events of a `text/event-stream` body. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  let rest = '';
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const match = /^event: (\w+)\ndata: (.*)$/.exec(block);
      if (!match) throw new Error(`not an event of ours: ${block}`);
      yield { event: match[1] ?? '', data: parseObject(match[2] ?? '') };
    }
  }
  expect(rest, 'the stream ends with a whole event').to.equal('');
}

/** Every event until the stream ends. */
export async function allEvents(stream: ReplyStream): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of stream.events) events.push(event);
  return events;
}

/** @param credentials headers of every call */
export function createClient(url: string, credentials: Record<string, string>): Client {
  const send = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    request(`${url}${path}`, {
      method,
      headers: {
        ...credentials,
        ...headers,
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  return {
    get: (path) => send('GET', path),
    post: (path, body) => send('POST', path, body),
    put: (path, body) => send('PUT', path, body),
    patch: (path, body) => send('PATCH', path, body),
    delete: (path) => send('DELETE', path),
    chat: (configId, body, headers) => send('POST', `/api/v1/chat/${configId}`, body, headers),
    async stream(configId, body, headers = {}) {
      const controller = new AbortController();
      beforeRequest.get(url)?.();
      const response = await fetch(`${url}/api/v1/chat/${configId}`, {
        method: 'POST',
        headers: { ...FRESH, ...credentials, ...headers, 'Content-Type': 'application/json' },
        body: JSON.stringify({ ...body, stream: true }),
        signal: controller.signal,
      });
      if (response.body === null) throw new Error('an answer without a body');
      return {
        status: response.status,
        headers: response.headers,
        events: readEvents(response.body),
        abort: () => controller.abort(),
      };
    },
  };
}

/** Calls `write` with each whole line of what comes in pieces. */
function createLineReader(write: (line: string) => void): (text: string) => void {
  let rest = '';
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    lines.forEach(write);
  };
}

/** Starts the whole server on a free port over a folder of its own. The caller stops it. */
export async function startTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { env = {}, config: configOverrides = {}, dataDir: givenDir, ...overrides } = options;
  const dataDir = givenDir ?? (await mkdtemp(join(tmpdir(), 'nimblesite-')));
  const lines: Json[] = [];
  const watchers = new Set<(line: Json) => void>();
  const write = (text: string) => {
    const line = parseObject(text);
    lines.push(line);
    for (const watcher of watchers) watcher(line);
  };
  const config = {
    ...loadConfig({ PORT: '0', DATA_DIR: dataDir, ADMIN_TOKEN, WORKERS, ...PATIENT, ...env }),
    ...configOverrides,
  };
  const log = createLog({ level: config.logLevel, destination: { write } });
  const { clock } = overrides;
  const tellTime = clock && config.workers > 1 ? () => tellWorkersTime(dataDir, clock.now()) : null;
  tellTime?.();
  const server = await createServer(config, {
    log,
    tokenHasher: quickHasher,
    workerLog: createLineReader(write),
    ...(tellTime && { workerProgram: WORKER_PROGRAM }),
    ...overrides,
  });
  const { url } = await server.listen();
  if (tellTime) beforeRequest.set(url, tellTime);

  const adminToken = config.adminToken ?? ADMIN_TOKEN;
  const admin = createClient(url, { Authorization: `Bearer ${adminToken}` });
  const tenant = (apiKey: string) => createClient(url, { 'X-API-Key': apiKey });
  return {
    url,
    dataDir,
    adminToken,
    admin,
    tenant,
    async createTenant(input = {}) {
      const { status, body } = await admin.post('/api/v1/admin/tenants', { name: 'Acme', ...input });
      expect(status).to.equal(201);
      const apiKey = String(body.api_key);
      return { id: String(body.id), apiKey, client: tenant(apiKey) };
    },
    async createConfig(client, content = {}) {
      const { status, body, text } = await client.post('/api/v1/configs', {
        name: 'Assistant',
        system_prompt: 'You help {tenant_name}.',
        model_config: { provider: 'demo', model: 'demo' },
        ...content,
      });
      expect(status, text).to.equal(201);
      return String(body.id);
    },
    operations: server.operations,
    download: (path, headers = { Authorization: `Bearer ${adminToken}` }) =>
      request(`${url}${path}`, { headers }),
    upload: (name, file, headers = {}) =>
      request(`${url}/api/v1/admin/tenants/import?name=${encodeURIComponent(name)}`, {
        method: 'POST',
        headers: {
          Authorization: `Bearer ${adminToken}`,
          'Content-Type': 'application/vnd.sqlite3',
          ...headers,
        },
        body: file,
      }),
    fetch: (path, init) => request(`${url}${path}`, init),
    logs: () => lines,
    logged: (fits) =>
      new Promise((resolve) => {
        const watcher = (line: Json) => {
          if (!fits(line)) return;
          watchers.delete(watcher);
          resolve(line);
        };
        watchers.add(watcher);
        lines.forEach(watcher);
      }),
    close: () => server.close(),
    async stop() {
      await server.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
