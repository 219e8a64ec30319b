import { join } from 'node:path';
import { expect } from 'chai';
import { chat } from './checks.ts';
import { answered, asAdmin, asTenant, pathOf, post, type Send } from './client.ts';
import { type Customer, isAt, type Ledger, newCustomer, only } from './ledger.ts';
import { lookAt, lookAtBytes } from './look.ts';
import type { ExportedFile } from './operations.ts';

const LIVE_MIN = 6;
const LIVE_MAX = 9;
const DELETED_MIN = 2;
/** Makes a tenant's file large enough for work on it to take its time. */
const FILLING_CHARACTERS = 200_000;

/** What the first start has made by itself. */
export async function purgeAll(send: Send): Promise<void> {
  const { body } = answered(await send('/api/v1/admin/tenants'));
  for (const { id } of body.data as { id: string }[]) {
    answered(await send(pathOf({ id }, '?purge=true'), asAdmin({ method: 'DELETE' })), 204);
  }
}

/** Makes up for those that were deleted or purged, and thins out those that were copied. */
export async function populate(send: Send, dataDir: string, ledger: Ledger, name: string): Promise<void> {
  const at = (place: 'live' | 'deleted') => [...ledger.customers.values()].filter(isAt(place));
  const remove = async (customer: Customer | undefined, purge: boolean): Promise<void> => {
    if (!customer) return;
    answered(await send(pathOf(customer, `?purge=${purge}`), asAdmin({ method: 'DELETE' })), 204);
    if (purge) ledger.customers.delete(customer.id);
    else customer.places = new Set(['deleted']);
    if (customer.apiKey !== null) ledger.deadKeys.push(customer.apiKey);
    customer.apiKey = null;
  };
  while (at('live').length < LIVE_MIN + DELETED_MIN - at('deleted').length) {
    const made = await createCustomer(send, dataDir, `${name} ${ledger.customers.size}`);
    ledger.customers.set(made.id, made);
  }
  for (const customer of at('live').slice(LIVE_MAX)) await remove(customer, true);
  for (const customer of at('deleted').slice(DELETED_MIN + 1)) await remove(customer, true);
  while (at('deleted').length < DELETED_MIN) await remove(at('live')[0], false);
}

async function createCustomer(send: Send, dataDir: string, name: string): Promise<Customer> {
  const tenant = answered(await send('/api/v1/admin/tenants', post({ name })), 201);
  const apiKey = String(tenant.body.api_key);
  const config = answered(
    await send(
      '/api/v1/configs',
      asTenant(apiKey, {
        name: 'Assistant',
        system_prompt: '',
        model_config: { provider: 'openai', model: 'm' },
      }),
    ),
    201,
  );
  const made = { id: String(tenant.body.id), name, configId: String(config.body.id), apiKey };
  await chat(send, made, { message: 'words '.repeat(FILLING_CHARACTERS / 6) });
  return newCustomer(made, lookAt(join(dataDir, 'tenants', `${made.id}.db`)).content);
}

/** So that there is something to restore. */
export async function backUpSome(send: Send, customers: Customer[]): Promise<void> {
  for (const customer of customers.slice(0, 2)) {
    const { body } = answered(await send(pathOf(customer, '/backups'), post()), 201);
    customer.backups.set(String(body.id), only(customer.contents));
  }
}

/** Two at once, so that the processes that work on files have all started, and one of them to be imported. */
export async function exportTwo(send: Send, customers: Customer[]): Promise<ExportedFile> {
  const files = await Promise.all(
    customers.slice(0, 2).map(async (customer): Promise<ExportedFile> => {
      const { bytes } = answered(await send(pathOf(customer, '/export')));
      const { content } = lookAtBytes(bytes);
      expect(content).to.equal(only(customer.contents));
      return { bytes, content, configId: customer.configId };
    }),
  );
  const [file] = files;
  if (file === undefined) throw new Error('There is nobody to export.');
  return file;
}
