import { expect } from 'chai';
import { type Clock, systemClock } from '../../tenant-schema/clock.ts';
import type { Client, Json, TestTenant } from '../support/http.ts';
import type { Answer, UpstreamRequest } from '../support/upstream.ts';
import type { ConsoleWorld } from './support.ts';

const DAY_MS = 86_400_000;
const HISTORY_DAYS = 21;

/** A clock that runs as the system's, some days behind, until it is brought forward. */
export interface PastClock extends Clock {
  /** @param days how long ago "now" is; never more than before */
  set(days: number): void;
  /** Lets time pass, up to the present. */
  pass(ms: number): void;
}

/** Begins so long ago that there is a history to be made. */
export function createPastClock(): PastClock {
  let behindMs = HISTORY_DAYS * DAY_MS;
  return {
    now: () => systemClock.now() - behindMs,
    // Of its own beginning, so it only has to move forward.
    monotonic: () => systemClock.monotonic() + HISTORY_DAYS * DAY_MS - behindMs,
    set(days) {
      behindMs = days * DAY_MS;
    },
    pass(ms) {
      behindMs = Math.max(0, behindMs - ms);
    },
  };
}

/** What was made, for the addresses of pages. */
export interface Seeded {
  tenant: TestTenant;
  configId: string;
  /** One that has ended, and one that waits for the results of tool calls. */
  conversationId: string;
  waitingId: string;
  logId: string;
  /** The day, as in an address. */
  today: string;
}

/** How much each customer talks: turns a day, on some days. */
const CUSTOMERS = [
  ['Northwind Traders', 3],
  ['Contoso Travel', 2],
  ['Fabrikam Legal', 1],
  ['Adatum Clinic', 1],
  ['Litware Schools', 1],
  ['Wide World Wines', 0],
] as const;

const TURNS_A_DAY_MAX = 8;

const TALK = [
  [
    'Can I change the delivery address?',
    'Yes, until the parcel is handed over. Which address should it go to?',
  ],
  [
    'What does the pro plan cost?',
    'The pro plan is 29 dollars a month, or 290 a year. You can cancel at any time.',
  ],
  ['Do you ship to Norway?', 'We do. It takes three to five working days, and customs are already paid.'],
] as const;

const SHIPPED = 'It left our warehouse this morning and should be with you tomorrow before noon.';

const ORDER_TOOL = {
  name: 'get_order',
  description: 'Looks an order up by its number.',
  parameters: { type: 'object', properties: { number: { type: 'integer' } }, required: ['number'] },
};

const SUPPORT = {
  name: 'Support assistant',
  system_prompt:
    'You answer customers of {tenant_name}. Today is {date}. The customer is on the {plan} plan.\nBe brief and friendly; look orders up before you talk of them.',
  model_config: { provider: 'openai', model: 'gpt-4.1-mini', temperature: 0.4, max_tokens: 800 },
  tools_config: [ORDER_TOOL, 'open_ticket'],
};

const made = async (reply: Promise<{ status: number; text: string; body: Json }>): Promise<Json> => {
  const { status, text, body } = await reply;
  expect(status, text).to.be.within(200, 204);
  return body;
};

/** Says what a model would, and takes as long as one would; of an order it asks a tool first. */
function answerTo(clock: PastClock): (request: UpstreamRequest) => Answer {
  let turns = 0;
  return ({ body: { messages } }) => {
    turns += 1;
    clock.pass(600 + ((turns * 531) % 1900));
    const usage = { input: 900 + ((turns * 377) % 2600), output: 180 + ((turns * 91) % 700) };
    const last = Array.isArray(messages) ? messages.at(-1) : undefined;
    const order = /order (\d+)/.exec(String(last?.content))?.[1];
    if (last?.role === 'user' && order !== undefined) {
      return { toolCalls: [{ name: 'get_order', arguments: { number: Number(order) } }], usage };
    }
    if (last?.role === 'tool') return { text: SHIPPED.split(/(?= )/), usage };
    if (turns % 23 === 0) return { status: 400, errorMessage: 'The model is not there.' };
    const [, answer] = TALK.find(([question]) => question === last?.content) ?? TALK[0];
    return { text: answer.split(/(?= )/), usage };
  };
}

/** A server that has been at work for three weeks, with a bit of everything. Leaves the clock at the present. */
export async function seed(world: ConsoleWorld, clock: PastClock): Promise<Seeded> {
  const { admin } = world.server;
  world.upstream.respond(answerTo(clock));
  const customers: { busy: number; tenant: TestTenant; config: string }[] = [];
  for (const [index, [name, busy]] of CUSTOMERS.entries()) {
    clock.set(HISTORY_DAYS - 0.07 * index);
    const tenant = await world.tenant(name);
    customers.push({ busy, tenant, config: await world.config(tenant, SUPPORT) });
  }
  const [first] = customers;
  if (first === undefined) throw new Error('no customers');
  const { tenant, config: configId } = first;

  for (let day = HISTORY_DAYS - 1; day >= 0; day -= 1) {
    for (let turn = 0; turn < TURNS_A_DAY_MAX; turn += 1) {
      clock.set(day + 0.4 - 0.05 * turn);
      const talking = customers.filter(({ busy }) => turn < (busy * (2 + ((day * 5) % 4))) >> 1);
      await Promise.all(talking.map(({ tenant: { client }, config }) => talk(client, config, turn, day)));
    }
    if (day === 12) await changeConfigs(tenant.client, configId);
    if (day === 9)
      await runTenants(
        admin,
        customers.map((customer) => customer.tenant),
      );
    if (day === 1) await made(admin.post(`/api/v1/admin/tenants/${tenant.id}/backups`, {}));
  }
  const talked = await converse(tenant.client, configId);
  clock.set(0);
  return { tenant, configId, ...talked, today: new Date(clock.now()).toISOString().slice(0, 10) };
}

async function talk(client: Client, configId: string, turn: number, day: number): Promise<void> {
  const [message] = TALK[(turn + day) % TALK.length] ?? TALK[0];
  await client.chat(configId, { message, user: `u-${17 + ((turn * 7 + day) % 30)}` });
}

/** Versions to be compared, and further configs. */
async function changeConfigs(client: Client, configId: string): Promise<void> {
  const prompt = SUPPORT.system_prompt.replace(
    'Be brief',
    'Answer in the language of the question. Be brief',
  );
  await made(client.patch(`/api/v1/configs/${configId}`, { system_prompt: prompt }));
  await made(
    client.patch(`/api/v1/configs/${configId}`, {
      model_config: { ...SUPPORT.model_config, temperature: 0.2 },
    }),
  );
  for (const [name, model] of [
    ['Product copywriter', { provider: 'anthropic', model: 'claude-sonnet-4-5', max_tokens: 2000 }],
    ['Translator', { provider: 'demo', model: 'demo' }],
  ]) {
    const system_prompt = `You are the ${name} of {tenant_name}.`;
    await made(client.post('/api/v1/configs', { name, system_prompt, model_config: model }));
  }
}

/** What an operator does in three weeks. */
async function runTenants(admin: Client, tenants: TestTenant[]): Promise<void> {
  const [first, second] = tenants.map(({ id }) => `/api/v1/admin/tenants/${id}`);
  const last = `/api/v1/admin/tenants/${tenants.at(-1)?.id}`;
  const limits = { requests_per_minute: 120, monthly_spend_usd: 250, storage_bytes_max: 512 * 1024 * 1024 };
  await made(admin.patch(first ?? '', { limits }));
  await made(admin.post(`${first}/keys`, { name: 'website', scopes: ['chat', 'read'] }));
  const { id } = await made(admin.post(`${first}/keys`, { name: 'old website' }));
  await made(admin.delete(`${first}/keys/${id}`));
  await made(admin.put(`${first}/providers/anthropic`, { api_key: 'sk-ant-of-the-customer-4f2a' }));
  await made(admin.post(`${first}/backups`, {}));
  await made(
    admin.patch(second ?? '', { limits: { monthly_spend_usd: 100, providers: ['openai', 'anthropic'] } }),
  );
  await made(admin.patch(last, { status: 'suspended' }));
  const { id: trial } = await made(admin.post('/api/v1/admin/tenants', { name: 'Trial of March' }));
  await made(admin.delete(`/api/v1/admin/tenants/${trial}`));
}

/** Conversations of today: one with a tool call that was answered, one with a call that is open. */
async function converse(
  client: Client,
  configId: string,
): Promise<Pick<Seeded, 'conversationId' | 'waitingId' | 'logId'>> {
  const template_vars = { plan: 'pro' };
  const ask = { message: 'Where is my order 4711?', template_vars, user: 'ada@example.com' };
  const asked = await made(client.chat(configId, ask));
  const [open] = asked.tool_calls as { id: string }[];
  const conversation_id = String(asked.conversation_id);
  const result = { tool_call_id: open?.id, content: { number: 4711, status: 'shipped', carrier: 'DHL' } };
  await made(client.chat(configId, { conversation_id, tool_results: [result], template_vars }));
  const later = { message: 'And my order 4712?', template_vars, user: 'grace@example.com' };
  const waiting = await made(client.chat(configId, later));
  const { body } = await client.get(`/api/v1/logs?conversation_id=${conversation_id}`);
  const [log] = body.data as { id: string }[];
  return {
    conversationId: conversation_id,
    waitingId: String(waiting.conversation_id),
    logId: String(log?.id),
  };
}
