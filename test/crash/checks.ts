import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { filesIn } from '../support/files.ts';
import type { Json } from '../support/http.ts';
import { until } from '../support/tenant-files.ts';
import { answered, asTenant, pathOf, post, type Send } from './client.ts';
import { type Customer, isAt, type Ledger, newCustomer, only, type Place } from './ledger.ts';
import { databasesIn, expectSound, type Look, lookAt, wholeBackups } from './look.ts';

/** What the folder holds while no server runs. */
export interface Found {
  tenants: Map<string, Look>;
  trash: Map<string, Look>;
}

const lookAtAll = (folder: string): Map<string, Look> =>
  new Map(
    databasesIn(folder).map((id) => {
      const look = lookAt(join(folder, `${id}.db`));
      expect(look.owner, 'whose file it is').to.equal(id);
      return [id, look];
    }),
  );

/**
 * After a kill, while no server runs: every file is sound, and every tenant has one file, with what was in it before or
 * what the round's operation was to put there. Writes down what it found.
 */
export function checkFiles(dataDir: string, ledger: Ledger): Found {
  expectSound(join(dataDir, 'control.db'));
  const found = { tenants: lookAtAll(join(dataDir, 'tenants')), trash: lookAtAll(join(dataDir, 'trash')) };
  for (const customer of ledger.customers.values()) {
    const { id, name, places } = customer;
    const here = found.tenants.get(id);
    const thrownAway = found.trash.get(id);
    expect(here !== undefined && thrownAway !== undefined, `${name} is in two places`).to.equal(false);
    const look = here ?? thrownAway;
    if (look === undefined) {
      expect(places, `${name} has lost its file`).to.include('gone');
      continue;
    }
    const place = here ? 'live' : 'deleted';
    // One that was purged, or deleted, may not have got that far yet where nobody was told so.
    if (places.size === 1) expect(place, name).to.equal(only(places));
    expect(customer.contents, name).to.include(look.content);
    customer.contents = new Set([look.content]);
    customer.history.add(look.content);
    if (!places.has('gone')) checkBackups(dataDir, customer);
  }
  return found;
}

/** Every backup is the file that its manifest tells of and holds what the tenant held; none promised is missing. */
function checkBackups(dataDir: string, customer: Customer): void {
  const folder = join(dataDir, 'backups', customer.id);
  const before = customer.backups;
  customer.backups = new Map(
    wholeBackups(folder).map((id) => {
      const content = before.get(id) ?? lookAt(join(folder, `${id}.db`)).content;
      expect(customer.history, `backup ${id} of ${customer.name}`).to.include(content);
      return [id, content];
    }),
  );
  for (const [id, contents] of customer.promised) {
    expect(contents, `acknowledged backup ${id} of ${customer.name}`).to.include(customer.backups.get(id));
  }
  customer.promised.clear();
}

/**
 * After the next start: every tenant is where it was or where its operation was to bring it, as its files are; nothing
 * is left of what was not finished. Afterwards the ledger knows one place of each, and no newcomer.
 */
export async function checkPlaces(send: Send, dataDir: string, ledger: Ledger, found: Found): Promise<void> {
  const live = await tenantsOf(send, '');
  const deleted = await tenantsOf(send, '&status=deleted');
  const placeOf = (id: string): Place => (live.has(id) ? 'live' : deleted.has(id) ? 'deleted' : 'gone');
  for (const customer of ledger.customers.values()) {
    const place = placeOf(customer.id);
    expect(customer.places, customer.name).to.include(place);
    customer.places = new Set([place]);
    await checkPlace(send, dataDir, customer, place, ledger);
  }
  await takeNewcomers(live, ledger, found);
  for (const id of databasesIn(join(dataDir, 'tenants')).filter((file) => !ledger.customers.has(file))) {
    // A clone or an import that was cut off before its row was written. Whole, but nobody's.
    expect(live.has(id) || deleted.has(id), `tenant ${id} that nobody asked for`).to.equal(false);
    rmSync(join(dataDir, 'tenants', `${id}.db`));
  }
  expect(live.size + deleted.size).to.equal(
    [...ledger.customers.values()].filter((customer) => !isAt('gone')(customer)).length,
  );
  // A start sums up the usage of tenants that were written to, and an older file is copied and migrated for that.
  await until(() =>
    ['tmp', 'tenants/.creating'].every((name) => readdirSync(join(dataDir, name)).length === 0),
  );
  // Those of control.db are written anew by a purge, which this start has brought to its end.
  for (const id of wholeBackups(join(dataDir, 'backups', 'control'))) {
    expectSound(join(dataDir, 'backups', 'control', `${id}.db`));
  }
  for (const key of ledger.deadKeys.slice(-20)) {
    expect((await send('/api/v1/me', asTenant(key)))?.status, 'a dead key').to.equal(401);
  }
}

async function checkPlace(send: Send, dataDir: string, customer: Customer, place: Place, ledger: Ledger) {
  const { id, name } = customer;
  const hasFile = (folder: string): boolean => existsSync(join(dataDir, folder, `${id}.db`));
  expect(hasFile('tenants'), `file of ${name}, ${place}`).to.equal(place === 'live');
  expect(hasFile('trash'), `file of ${name} in the trash, ${place}`).to.equal(place === 'deleted');
  expect((await send(pathOf(customer)))?.status, name).to.equal(place === 'live' ? 200 : 404);
  if (place !== 'live' && customer.apiKey !== null) {
    ledger.deadKeys.push(customer.apiKey);
    customer.apiKey = null;
  }
  if (place === 'gone') {
    expect(filesIn(dataDir).filter((path) => path.includes(id))).to.deep.equal([]);
    ledger.customers.delete(id);
    return;
  }
  checkBackups(dataDir, customer);
}

async function takeNewcomers(live: Map<string, string>, ledger: Ledger, found: Found): Promise<void> {
  for (const { name, configId, contents, acknowledged } of ledger.newcomers.splice(0)) {
    const ids = [...live].filter(([, known]) => known === name).map(([id]) => id);
    expect(ids.length, name).to.be.within(acknowledged ? 1 : 0, 1);
    const [id] = ids;
    if (id === undefined) continue;
    if (acknowledged) expect(id).to.equal(acknowledged.id);
    const content = found.tenants.get(id)?.content;
    expect(contents, name).to.include(content);
    const apiKey = acknowledged?.apiKey ?? null;
    ledger.customers.set(id, newCustomer({ id, name, configId, apiKey }, String(content)));
  }
}

/** Names by id. */
async function tenantsOf(send: Send, filter: string): Promise<Map<string, string>> {
  const reply = await send(`/api/v1/admin/tenants?limit=100${filter}`);
  expect(reply?.status).to.equal(200);
  const rows = reply?.body.data as Json[];
  return new Map(rows.map(({ id, name }) => [String(id), String(name)]));
}

/** A tenant that is there answers, all that its file holds, and takes a turn. Writes down what it holds then. */
export async function checkServed(send: Send, dataDir: string, customer: Customer): Promise<void> {
  const path = join(dataDir, 'tenants', `${customer.id}.db`);
  const { conversations } = lookAt(path);
  if (customer.apiKey === null) {
    const { body } = answered(await send(pathOf(customer, '/keys'), post({ name: 'found again' })), 201);
    customer.apiKey = String(body.api_key);
  }
  const me = answered(await send('/api/v1/me', asTenant(customer.apiKey)));
  expect((me.body.tenant as Json).name).to.equal(customer.name);
  const list = answered(await send('/api/v1/conversations?limit=100', asTenant(customer.apiKey)));
  const rows = list.body.data as { id: string; user: string | null; message_count: number; status: string }[];
  expect(new Map(rows.map(({ id, message_count }) => [id, message_count]))).to.deep.equal(conversations);
  for (const { status } of rows) expect(status, 'a dead turn blocks nothing').to.equal('idle');

  const going = rows.find(({ user }) => user === CHECKING_USER);
  await chat(send, customer, {
    message: 'still there?',
    user: CHECKING_USER,
    conversation_id: going?.id ?? null,
  });
  const { content } = lookAt(path);
  customer.contents = new Set([content]);
  customer.history.add(content);
}

/** The end user whose conversation goes on after each start. */
const CHECKING_USER = 'checking';

export const chat = async (
  send: Send,
  { configId, apiKey }: Pick<Customer, 'configId' | 'apiKey'>,
  body: Json,
): Promise<void> => {
  answered(await send(`/api/v1/chat/${configId}`, asTenant(String(apiKey), body)));
};
