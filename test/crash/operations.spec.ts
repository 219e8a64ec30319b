import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pass } from 'node:timers/promises';
import { expect } from 'chai';
import { createRandom, type Random } from '../support/mutate.ts';
import { type ServerProcess, startServerProcess } from '../support/process.ts';
import { until } from '../support/tenant-files.ts';
import { temporaryFolder } from '../support/tenants.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';
import { checkFiles, checkPlaces, checkServed, type Found } from './checks.ts';
import { ADMIN_TOKEN, asTenant, sender } from './client.ts';
import { type Customer, isAt, type Ledger } from './ledger.ts';
import { takeBack } from './next-schema.ts';
import { chooseOperations, type Operation, shuffled } from './operations.ts';
import { processesOf } from './orphans.ts';
import { backUpSome, exportTwo, populate, purgeAll } from './population.ts';

const ROUNDS = Number(process.env.CRASH_ROUNDS ?? 5);
/** In the name of the test, and so in each failure; set it to see that one again. */
const SEED = Number(process.env.CRASH_SEED ?? Date.now() % 1_000_000);
/** The server is killed at most so long after all operations have begun, in which most of them end; or, for those that need a new process, later; */
const KILL_MS_MAX = 400;
const KILL_LATE_MS_MAX = 8_000;
/** or so soon that even the shortest are cut off. */
const KILL_SOON_MS_MAX = 20;
/** Mostly while much is under way; now and then so late that also what needs a new process is done. */
const killAfterMs = (random: Random): number => {
  const kind = random(6);
  return random(1 + (kind < 2 ? KILL_SOON_MS_MAX : kind < 5 ? KILL_MS_MAX : KILL_LATE_MS_MAX));
};
const HOLD = 'never answered';

describe('a server that is killed during operations', () => {
  let upstream: Upstream;
  let folder: ReturnType<typeof temporaryFolder>;
  let server: ServerProcess | undefined;

  before(async () => {
    upstream = await startUpstream();
    upstream.respond(({ body }) =>
      JSON.stringify(body).includes(HOLD) ? { hangAfter: 'request' } : { text: ['some ', 'words'] },
    );
    folder = temporaryFolder();
  });
  after(async () => {
    await server?.end('SIGKILL');
    await upstream.close();
    folder.remove();
  });

  const start = async (): Promise<ServerProcess> => {
    server = await startServerProcess({
      command: [process.execPath, '--import', 'tsx', 'test/crash/next-release.ts'],
      // Of its own, by which what it leaves behind is found.
      group: true,
      env: {
        DATA_DIR: folder.path,
        PORT: '0',
        ADMIN_TOKEN,
        OPENAI_API_KEY: 'sk-crash',
        OPENAI_BASE_URL: upstream.openaiUrl,
        BACKUP_KEEP: '5',
        // The checks of the test itself must not make it refuse work.
        LOOP_DELAY_MAX_MS: '60000',
        LOG_LEVEL: 'warn',
      },
    });
    return server;
  };

  it(`does each or has not begun it, and damages no file, in ${ROUNDS} rounds (CRASH_SEED=${SEED})`, async function () {
    this.timeout(60_000 + ROUNDS * 15_000);
    const random = createRandom(SEED);
    const ledger: Ledger = { customers: new Map(), newcomers: [], deadKeys: [] };
    const tally: Tally = new Map();
    let found: Found = { tenants: new Map(), trash: new Map() };
    let begun: { operation: Operation; acknowledged: boolean }[] = [];

    for (let round = 0; round <= ROUNDS; round += 1) {
      try {
        const old = shuffled([...ledger.customers.values()].filter(mayBeOld), random).slice(0, 2);
        for (const { id } of old) takeBack(join(folder.path, 'tenants', `${id}.db`));
        const running = await start();
        const send = sender(running.url);
        if (round === 0) await purgeAll(send);
        await checkPlaces(send, folder.path, ledger, found);
        for (const { operation, acknowledged } of begun) count(tally, operation, acknowledged);
        const served = [...ledger.customers.values()]
          .filter(isAt('live'))
          .filter((one) => !old.includes(one));
        await Promise.all(served.map((customer) => checkServed(send, folder.path, customer)));
        if (round === ROUNDS) break;

        await populate(send, folder.path, ledger, `Round ${round}.`);
        const young = shuffled([...ledger.customers.values()].filter(isAt('live')), random).filter(
          (customer) => !old.includes(customer),
        );
        await backUpSome(send, young);
        const file = await exportTwo(send, young);
        await holdTurn(running.url, young[0]);
        const operations = shuffled(chooseOperations(ledger, file, `Round ${round}.`, random), random);
        begun = await runUntilKilled(running, operations, killAfterMs(random), {
          backsUp: random(3) === 0,
          withWorkers: random(2) === 0,
        });
        found = checkFiles(folder.path, ledger);
      } catch (error) {
        throw new Error(`round ${round} of CRASH_SEED=${SEED}: ${server?.output()}`, { cause: error });
      }
    }

    expect(await server?.end('SIGTERM')).to.equal(0);
    checkFiles(folder.path, ledger);
    if (ROUNDS >= 50) expectCutOff(tally);
  });

  /** A turn that is open when the server is killed, or when its tenant is deleted under it. */
  async function holdTurn(url: string, customer: Customer | undefined): Promise<void> {
    const requests = upstream.requests.length;
    void sender(url)(
      `/api/v1/chat/${customer?.configId}`,
      asTenant(String(customer?.apiKey), { message: HOLD }),
    );
    await upstream.received(requests + 1);
  }
});

const mayBeOld = ({ places }: Customer): boolean => places.size === 1 && places.has('live');

/** Begins all at once; gives back what became of each as far as its client knows. */
async function runUntilKilled(
  server: ServerProcess,
  operations: Operation[],
  afterMs: number,
  { backsUp, withWorkers }: { backsUp: boolean; withWorkers: boolean },
): Promise<{ operation: Operation; acknowledged: boolean }[]> {
  const exited = once(server.child, 'exit');
  const send = sender(server.url);
  if (backsUp) server.child.kill('SIGUSR2');
  const running = operations.map(async (operation) => ({
    operation,
    acknowledged: await operation.run(send),
  }));
  const ended = Promise.all(running);
  // The moment is what is tried out here.
  await Promise.race([pass(afterMs), ended]);
  // Alone, or with the processes that work on files for it, as when the machine dies.
  if (withWorkers) await server.end('SIGKILL');
  else server.child.kill('SIGKILL');
  await exited;
  const results = await ended;
  await until(() => processesOf(server).length === 0);
  return results;
}

type Tally = Map<string, { acknowledged: number; finished: number; notDone: number }>;

/** Only what can be told apart afterwards counts as finished without an answer. */
function count(tally: Tally, { kind, done }: Operation, acknowledged: boolean): void {
  const counts = tally.get(kind) ?? { acknowledged: 0, finished: 0, notDone: 0 };
  tally.set(kind, counts);
  if (acknowledged) counts.acknowledged += 1;
  else if (done?.()) counts.finished += 1;
  else counts.notDone += 1;
}

/** Else the kills came too early or too late to try anything. */
function expectCutOff(tally: Tally): void {
  for (const [kind, { acknowledged, notDone }] of tally) {
    expect(acknowledged, `${kind} acknowledged`).to.be.greaterThan(0);
    expect(notDone, `${kind} not done`).to.be.greaterThan(0);
  }
}
