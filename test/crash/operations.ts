import { expect } from 'chai';
import type { Download } from '../support/http.ts';
import type { Random } from '../support/mutate.ts';
import { asAdmin, pathOf, post, type Send } from './client.ts';
import { type Customer, isAt, type Ledger, type Newcomer, only } from './ledger.ts';
import { lookAtBytes } from './look.ts';

/** An operation that was begun in a round. */
export interface Operation {
  kind: string;
  /** Resolves when it was answered, or its server is dead. True where it was acknowledged. */
  run(send: Send): Promise<boolean>;
  /** Whether it has happened, acknowledged or not, as far as the ledger can tell; asked when the round is over. */
  done?(): boolean;
}

/** An exported file, to be imported. */
export interface ExportedFile {
  bytes: Buffer;
  content: string;
  configId: string;
}

/** In another order. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const rest = [...items];
  const result: T[] = [];
  while (rest.length > 0) result.push(...rest.splice(random(rest.length), 1));
  return result;
}

/**
 * One operation of each kind. Those that change a tenant take one each; what only reads may meet any of them.
 * @param name given to no other tenant of this test
 */
export function chooseOperations(
  ledger: Ledger,
  file: ExportedFile,
  name: string,
  random: Random,
): Operation[] {
  const live = shuffled([...ledger.customers.values()].filter(isAt('live')), random);
  const deleted = shuffled([...ledger.customers.values()].filter(isAt('deleted')), random);
  const take = (from: Customer[], fits: (customer: Customer) => boolean = () => true): Customer => {
    const index = from.findIndex(fits);
    const [taken] = from.splice(index, 1);
    if (index < 0 || taken === undefined) throw new Error('There are too few tenants.');
    return taken;
  };
  const anyOf = [...live];
  const toRestore = take(live, ({ backups }) => backups.size > 0);
  const toDelete = take(live);
  const toUndelete = take(deleted);
  const toPurge = random(2) === 0 ? take(live) : take(deleted);
  const contested = new Set([toRestore, toDelete, toUndelete, toPurge]);
  const toRead = (): Customer => anyOf[random(anyOf.length)] ?? toRestore;

  /** Whether it was done; where it was refused, only because of what else is done with the tenant. */
  const accepted = (reply: Download | null, target: Customer): reply is Download => {
    if (reply === null) return false;
    if (reply.status < 400) return true;
    expect(contested.has(target) || reply.status === 429, reply.text).to.equal(true);
    expect([404, 429, 503], reply.text).to.include(reply.status);
    return false;
  };
  const addNewcomer = (newcomer: Newcomer, reply: Download): true => {
    newcomer.acknowledged = { id: String(reply.body.id), apiKey: String(reply.body.api_key) };
    return true;
  };
  const appears = (newcomer: Newcomer) => (): boolean =>
    [...ledger.customers.values()].some((customer) => customer.name === newcomer.name);

  const backUp = (target: Customer): Operation => {
    const possible = target.contents;
    return {
      kind: 'backup',
      async run(send) {
        const reply = await send(pathOf(target, '/backups'), post());
        if (!accepted(reply, target)) return false;
        target.promised.set(String(reply.body.id), possible);
        return true;
      },
    };
  };

  const clone = (source: Customer): Operation => {
    const newcomer: Newcomer = {
      name: `${name} clone`,
      configId: source.configId,
      contents: source.contents,
      acknowledged: null,
    };
    ledger.newcomers.push(newcomer);
    return {
      kind: 'clone',
      async run(send) {
        const reply = await send(pathOf(source, '/clone'), post({ name: newcomer.name }));
        return accepted(reply, source) && addNewcomer(newcomer, reply);
      },
      done: appears(newcomer),
    };
  };

  const importFile = (): Operation => {
    const { bytes, content, configId } = file;
    const contents = new Set([content]);
    const newcomer: Newcomer = { name: `${name} import`, configId, contents, acknowledged: null };
    ledger.newcomers.push(newcomer);
    return {
      kind: 'import',
      async run(send) {
        const path = `/api/v1/admin/tenants/import?name=${encodeURIComponent(newcomer.name)}`;
        const reply = await send(path, asAdmin({ method: 'POST', body: bytes }));
        if (reply === null) return false;
        expect(reply.status, reply.text).to.equal(201);
        return addNewcomer(newcomer, reply);
      },
      done: appears(newcomer),
    };
  };

  const restore = (target: Customer): Operation => {
    const before = only(target.contents);
    // Of the newest, which retention leaves alone.
    const [[backupId, wanted]] = shuffled([...target.backups].sort().slice(-2), random) as [[string, string]];
    target.contents.add(wanted);
    return {
      kind: 'restore',
      async run(send) {
        const reply = await send(pathOf(target, '/restore'), post({ backup_id: backupId }));
        if (reply === null) return false;
        expect(reply.status, reply.text).to.equal(200);
        target.promised.set(String(reply.body.kept_backup_id), new Set([before]));
        target.contents = new Set([wanted]);
        return true;
      },
      done: () => before !== wanted && target.contents.has(wanted),
    };
  };

  const remove = (target: Customer, purge: boolean): Operation => {
    const place = purge ? 'gone' : 'deleted';
    target.places.add(place);
    return {
      kind: purge ? 'purge' : 'delete',
      async run(send) {
        const reply = await send(pathOf(target, `?purge=${purge}`), asAdmin({ method: 'DELETE' }));
        if (reply === null) return false;
        expect(reply.status, reply.text).to.equal(204);
        target.places = new Set([place]);
        return true;
      },
      done: () => target.places.has(place),
    };
  };

  const undelete = (target: Customer): Operation => {
    target.places.add('live');
    return {
      kind: 'undelete',
      async run(send) {
        const reply = await send(pathOf(target, '/undelete'), post());
        if (reply === null) return false;
        expect(reply.status, reply.text).to.equal(200);
        target.places = new Set(['live']);
        target.apiKey = String(reply.body.api_key);
        return true;
      },
      done: () => target.places.has('live'),
    };
  };

  const exportFile = (source: Customer): Operation => {
    const possible = source.contents;
    return {
      kind: 'export',
      async run(send) {
        const reply = await send(pathOf(source, '/export'));
        if (!accepted(reply, source)) return false;
        expect(possible).to.include(lookAtBytes(reply.bytes).content);
        return true;
      },
    };
  };

  const migrate = (): Operation => ({
    kind: 'migrate',
    async run(send) {
      const reply = await send('/api/v1/admin/fleet/migrate', post());
      return reply?.text.includes('event: done') ?? false;
    },
  });

  return [
    backUp(toRead()),
    importFile(),
    restore(toRestore),
    clone(toRead()),
    remove(toDelete, false),
    undelete(toUndelete),
    remove(toPurge, true),
    migrate(),
    exportFile(toRead()),
  ];
}
