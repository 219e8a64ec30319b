import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Pool } from 'undici';
import { makeKey } from '../control-plane/key-format.ts';
import { systemClock, toTimestamp } from '../tenant-schema/clock.ts';
import { type BareConversations, writeBareConversations } from './lib/bare-rows.ts';
import { type BareStore, type BareTenant, openBareStore } from './lib/bare-store.ts';
import type { ChatTarget } from './lib/load.ts';
import { answerWith } from './lib/processes.ts';

// A chat turn as one would write it by hand, with node:http, undici and SQLite alone: what the server could be if it
// had no other endpoints, no limits, no checks of what it is given. It keeps the same promise: an answered turn is on
// the disk. As a process of its own.

export interface BareRequest {
  folder: string;
  upstreamUrl: string;
  /** Whether the model is asked for an event stream, from which a turn that is cut off can be kept in part. */
  streams: boolean;
  /** What there is before the first turn. */
  conversations?: BareConversations;
  /** How many there are, and how many of their files are open at most. Default: one. */
  tenants?: { count: number; openMax: number };
}

export interface BareListening {
  url: string;
  targets: ChatTarget[];
  conversationIds: string[];
}

interface Caller {
  tenantId: string;
  tenantName: string;
  salt: Buffer;
  hash: Buffer;
}

interface Answer {
  text: string;
  finishReason: string;
  inputTokens: number;
  outputTokens: number;
}

const CHAT = '/api/v1/chat/';
const KEY = /^nbs_([0-9a-f]{32})_([0-9A-Za-z]{49})$/;
const UPSTREAM_CONNECTIONS = 128;

/** A UUIDv7: its time, and the random part of a version 4. */
function newId(at: number): string {
  const time = at.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}

const digest = (salt: Buffer, secret: string): Buffer =>
  createHash('sha256').update(salt).update(secret).digest();

/** The keys of all tenants, in a database beside theirs. */
function openKeys(folder: string) {
  const db = new Database(join(folder, 'control.db'));
  db.pragma('journal_mode = WAL');
  db.exec(`
    CREATE TABLE tenants (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE api_keys (
      id TEXT NOT NULL PRIMARY KEY, tenant_id TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
  `);
  const select = db.prepare<[string], Caller>(
    `SELECT tenants.id AS tenantId, tenants.name AS tenantName, salt, hash
     FROM api_keys JOIN tenants ON tenants.id = tenant_id WHERE api_keys.id = ?`,
  );
  const insertTenant = db.prepare('INSERT INTO tenants VALUES (?, ?)');
  const insertKey = db.prepare('INSERT INTO api_keys VALUES (?, ?, ?, ?)');
  return {
    /** Gives a key for each. */
    issue: db.transaction((tenantIds: readonly string[], tenantName: string): string[] =>
      tenantIds.map((tenantId) => {
        const id = newId(systemClock.now());
        const { text, secret } = makeKey(id);
        const salt = randomBytes(16);
        insertTenant.run(tenantId, tenantName);
        // With the checksum, that is a part of the text behind the id.
        insertKey.run(id.replaceAll('-', ''), tenantId, salt, digest(salt, secret + text.slice(-6)));
        return text;
      }),
    ),
    find(text: string): Caller | null {
      const [, id, secret] = KEY.exec(text) ?? [];
      const caller = id === undefined ? undefined : select.get(id);
      if (!caller || !secret || !timingSafeEqual(digest(caller.salt, secret), caller.hash)) return null;
      return caller;
    },
  };
}

/** Puts an event stream's pieces together. */
function readStream(text: string): Answer {
  const answer: Answer = { text: '', finishReason: '', inputTokens: 0, outputTokens: 0 };
  for (const line of text.split('\n')) {
    if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
    const { choices, usage } = JSON.parse(line.slice(6));
    answer.text += choices[0]?.delta.content ?? '';
    answer.finishReason ||= choices[0]?.finish_reason ?? '';
    answer.inputTokens = usage?.prompt_tokens ?? answer.inputTokens;
    answer.outputTokens = usage?.completion_tokens ?? answer.outputTokens;
  }
  return answer;
}

function readPlain(text: string): Answer {
  const { choices, usage } = JSON.parse(text);
  return {
    text: choices[0].message.content,
    finishReason: choices[0].finish_reason,
    inputTokens: usage.prompt_tokens,
    outputTokens: usage.completion_tokens,
  };
}

function send(response: ServerResponse, status: number, body: object, requestId: string): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'x-request-id': requestId,
  });
  response.end(text);
}

function createBare(store: BareStore, keys: ReturnType<typeof openKeys>, options: BareRequest) {
  const upstream = new Pool(options.upstreamUrl, { connections: UPSTREAM_CONNECTIONS });
  const asked = options.streams ? { stream: true, stream_options: { include_usage: true } } : {};
  const read = options.streams ? readStream : readPlain;

  const ask = async (body: object): Promise<Answer> => {
    const { statusCode, body: answer } = await upstream.request({
      method: 'POST',
      path: '/chat/completions',
      headers: { 'content-type': 'application/json', authorization: 'Bearer none' },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (statusCode !== 200) throw new Error(`The model answered ${statusCode}.`);
    return read(text);
  };

  const chat = async (
    tenant: BareTenant,
    { tenantName }: Caller,
    configId: string,
    text: string,
    response: ServerResponse,
  ): Promise<void> => {
    const requestId = randomUUID();
    const { message, conversation_id } = JSON.parse(text);
    if (typeof message !== 'string') return send(response, 422, { code: 'validation_failed' }, requestId);
    const at = systemClock.now();
    const turn = { id: newId(at), requestId, configId, conversationId: conversation_id ?? null, at };
    const begun = tenant.begin(turn, newId(at));
    if (!begun) return send(response, 404, { code: 'not_found' }, requestId);
    const { provider: _, ...model } = JSON.parse(begun.config.modelConfig);
    const day = toTimestamp(at).slice(0, 10);
    const system = begun.config.systemPrompt.replace('{tenant_name}', tenantName).replace('{date}', day);
    const answer = await ask({
      ...model,
      messages: [{ role: 'system', content: system }, ...begun.history, { role: 'user', content: message }],
      ...asked,
    });
    const { inputTokens, outputTokens } = answer;
    const now = systemClock.now();
    const answerId = newId(now);
    tenant.finish(turn, begun, {
      userMessage: message,
      userMessageId: newId(now),
      answer: answer.text,
      answerId,
      model: model.model,
      inputTokens,
      outputTokens,
      at: now,
      day,
    });
    await tenant.durable();
    const body = {
      response: answer.text,
      conversation_id: begun.conversationId,
      message_id: answerId,
      tool_calls: [],
      finish_reason: answer.finishReason,
      model: model.model,
      usage: { input_tokens: inputTokens, output_tokens: outputTokens },
      cost_usd: null,
    };
    send(response, 200, body, requestId);
  };

  return createServer((request: IncomingMessage, response) => {
    const { url = '', headers } = request;
    const caller = keys.find(String(headers['x-api-key'] ?? ''));
    if (!caller || request.method !== 'POST' || !url.startsWith(CHAT)) {
      send(response, caller ? 404 : 401, {}, '');
      return;
    }
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.once('end', () => {
      const text = Buffer.concat(parts).toString();
      const configId = url.slice(CHAT.length);
      store
        .use(caller.tenantId, (tenant) => chat(tenant, caller, configId, text, response))
        .catch((error: unknown) => send(response, 502, { detail: String(error) }, ''));
    });
  });
}

/** A file with one config for each tenant; gives their ids and the config's. */
function makeFiles(folder: string, count: number): { tenantIds: string[]; configId: string } {
  const tenantIds = Array.from({ length: count }, () => newId(systemClock.now()));
  const configId = newId(systemClock.now());
  const [first = '', ...others] = tenantIds;
  const store = openBareStore(folder, 'files');
  store.tenant(first).putConfig(configId, {
    version: 1,
    systemPrompt: 'You help the visitors of {tenant_name}. Today is {date}.',
    modelConfig: JSON.stringify({ provider: 'openai', model: 'bench' }),
  });
  store.close();
  const bytes = readFileSync(join(folder, `${first}.db`));
  for (const id of others) writeFileSync(join(folder, `${id}.db`), bytes);
  // Or the system would write them while the turns wait for the disk.
  execFileSync('sync', ['-f', folder]);
  return { tenantIds, configId };
}

answerWith(async (request: BareRequest): Promise<BareListening> => {
  const { folder, conversations, tenants = { count: 1, openMax: 1 } } = request;
  mkdirSync(folder, { recursive: true });
  const { tenantIds, configId } = makeFiles(folder, tenants.count);
  const keys = openKeys(folder);
  const conversationIds = conversations
    ? writeBareConversations(join(folder, `${tenantIds[0]}.db`), configId, conversations, () =>
        newId(systemClock.now()),
      )
    : [];
  const targets = keys.issue(tenantIds, 'Tenant').map((apiKey) => ({ apiKey, configId }));
  const server = createBare(openBareStore(folder, 'files', tenants.openMax), keys, request);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, targets, conversationIds };
});
