import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import { type ServerProcess, startServerProcess } from '../support/process.ts';
import { temporaryFolder } from '../support/tenants.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const ROUNDS = Number(process.env.CRASH_ROUNDS ?? 3);
const TENANTS = 4;
/** Clients per tenant, each with a conversation of its own. */
const CLIENTS = 3;
/** Killed when so many turns more have been acknowledged; another number each round. */
const turnsUntilKill = (round: number): number => 40 + ((round * 37) % 90);

const ADMIN_TOKEN = 'crash-test-admin-token';

interface Customer {
  id: string;
  apiKey: string;
  configId: string;
}

/** What the server has acknowledged, and so may never lose. */
interface Ledger {
  customers: Customer[];
  /** `conversation id` → ids of the answers in it, in order. */
  answers: Map<string, { customer: Customer; messageIds: string[] }>;
  revokedKeys: string[];
}

describe('a server that is killed under load', () => {
  let upstream: Upstream;
  let folder: ReturnType<typeof temporaryFolder>;
  let server: ServerProcess | undefined;

  before(async () => {
    upstream = await startUpstream();
    upstream.respond(() => ({ text: ['some ', 'words'] }));
    folder = temporaryFolder();
  });
  after(async () => {
    await server?.end('SIGKILL');
    await upstream.close();
    folder.remove();
  });

  const start = async (): Promise<ServerProcess> => {
    server = await startServerProcess({
      env: {
        DATA_DIR: folder.path,
        PORT: '0',
        ADMIN_TOKEN,
        OPENAI_API_KEY: 'sk-crash',
        OPENAI_BASE_URL: upstream.openaiUrl,
        LOG_LEVEL: 'warn',
      },
    });
    return server;
  };

  it(`loses no acknowledged turn, tenant or revocation in ${ROUNDS} rounds, and no file is damaged`, async function () {
    this.timeout(60_000 + ROUNDS * 15_000);
    const ledger: Ledger = { customers: [], answers: new Map(), revokedKeys: [] };
    for (let round = 0; round < ROUNDS; round += 1) {
      const running = await start();
      await expectAllThere(running.url, ledger);
      while (ledger.customers.length < TENANTS) ledger.customers.push(await createCustomer(running.url));
      ledger.revokedKeys.push(await createAndRevokeKey(running.url, ledger.customers[0]));
      await loadUntilKilled(running, ledger, turnsUntilKill(round));
      expectSoundFiles(folder.path);
    }
    const last = await start();
    await expectAllThere(last.url, ledger);
    expect(await last.end('SIGTERM')).to.equal(0);
    expect([...ledger.answers.values()].flatMap(({ messageIds }) => messageIds).length).to.be.greaterThan(
      ROUNDS * 40,
    );
  });
});

async function call(url: string, key: string, method: string, path: string, body?: object) {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? {} : JSON.parse(text) };
}

async function createCustomer(url: string): Promise<Customer> {
  const tenant = await call(url, ADMIN_TOKEN, 'POST', '/api/v1/admin/tenants', { name: 'Customer' });
  expect(tenant.status).to.equal(201);
  const config = await call(url, tenant.body.api_key, 'POST', '/api/v1/configs', {
    name: 'Assistant',
    system_prompt: '',
    model_config: { provider: 'openai', model: 'm' },
  });
  expect(config.status).to.equal(201);
  return { id: tenant.body.id, apiKey: tenant.body.api_key, configId: config.body.id };
}

async function createAndRevokeKey(url: string, customer: Customer | undefined): Promise<string> {
  const path = `/api/v1/admin/tenants/${customer?.id}/keys`;
  const { body } = await call(url, ADMIN_TOKEN, 'POST', path, { name: 'short-lived' });
  expect((await call(url, ADMIN_TOKEN, 'DELETE', `${path}/${body.id}`)).status).to.equal(204);
  return body.api_key;
}

/** Every client takes turn after turn; the server is killed in the middle of them. */
async function loadUntilKilled(server: ServerProcess, ledger: Ledger, turns: number): Promise<void> {
  let acknowledged = 0;
  let killed: Promise<unknown> | undefined;
  const client = async (customer: Customer): Promise<void> => {
    let conversationId: string | undefined;
    while (!killed) {
      const reply = await call(server.url, customer.apiKey, 'POST', `/api/v1/chat/${customer.configId}`, {
        message: 'hello',
        conversation_id: conversationId ?? null,
      }).catch((error: unknown) => {
        if (!killed) throw error;
        return null;
      });
      // An answer may still arrive whole after the signal was sent: it was acknowledged as well.
      if (reply === null) return;
      expect(reply.status).to.equal(200);
      const id: string = reply.body.conversation_id;
      const entry = ledger.answers.get(id) ?? { customer, messageIds: [] };
      entry.messageIds.push(reply.body.message_id);
      ledger.answers.set(id, entry);
      conversationId = id;
      acknowledged += 1;
      if (acknowledged >= turns) killed ??= server.end('SIGKILL');
    }
  };
  await Promise.all(
    ledger.customers.flatMap((customer) => Array.from({ length: CLIENTS }, () => client(customer))),
  );
  await killed;
}

async function expectAllThere(url: string, ledger: Ledger): Promise<void> {
  for (const key of ledger.revokedKeys) {
    expect((await call(url, key, 'GET', '/api/v1/me')).status).to.equal(401);
  }
  for (const [id, { customer, messageIds }] of ledger.answers) {
    const conversation = await call(url, customer.apiKey, 'GET', `/api/v1/conversations/${id}`);
    expect(conversation.status).to.equal(200);
    expect(conversation.body.status, 'a dead turn blocks nothing').to.equal('idle');
    const there: string[] = [];
    let cursor: string | null = null;
    do {
      const query: string = cursor === null ? '' : `&cursor=${cursor}`;
      const page = await call(
        url,
        customer.apiKey,
        'GET',
        `/api/v1/conversations/${id}/messages?limit=100${query}`,
      );
      for (const { id: messageId, role } of page.body.data)
        if (role === 'assistant') there.unshift(messageId);
      cursor = page.body.next_cursor;
    } while (cursor !== null);
    expect(there.slice(0, messageIds.length), 'acknowledged answers, in order').to.deep.equal(messageIds);
    // At most the one turn whose acknowledgement the kill cut off.
    expect(there.length - messageIds.length).to.be.within(0, 1);
  }
}

/** Looked at while no server runs. */
function expectSoundFiles(dataDir: string): void {
  const tenants = join(dataDir, 'tenants');
  const files = readdirSync(tenants).filter((name) => name.endsWith('.db'));
  expect(files).not.to.have.length(0);
  for (const path of [join(dataDir, 'control.db'), ...files.map((name) => join(tenants, name))]) {
    const db = new Database(path);
    expect(db.pragma('integrity_check', { simple: true }), path).to.equal('ok');
    expect(db.pragma('foreign_key_check'), path).to.deep.equal([]);
    db.close();
  }
}
