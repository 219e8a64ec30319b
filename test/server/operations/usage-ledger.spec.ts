import { readdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import { expect } from 'chai';
import fc from 'fast-check';
import { createUsageLedger, type UsageLedger } from '../../../server/operations/usage-ledger.ts';
import { ADMIN, createFixture, type Fixture } from '../../control-plane/setup.ts';
import { chat, configContent, ManualClock, startEngine, type TestEngine } from '../../support/tenants.ts';
import { createGate } from '../../support/upstream.ts';

const FIRST_PAGE = { limit: 100, cursor: null };
const DAY_MS = 24 * 60 * 60 * 1000;

describe('the ledger of usage', () => {
  let fixture: Fixture;
  let tenants: TestEngine;
  let ledger: UsageLedger;
  let tenantId: string;
  let configId: string;
  /** Tenants whose file was opened or used, by the ledger or by a test. */
  let used: string[];

  beforeEach(async () => {
    fixture = createFixture();
    used = [];
    // Before any file of a test was written: file times are the machine's.
    const clock = new ManualClock(Date.UTC(2020, 0, 15));
    tenants = startEngine({ onUsage: (id, usage) => ledger.add(id, usage) }, clock);
    ledger = begin();
    tenantId = await tenant();
    configId = await tenants.engine.use(tenantId, (store) => store.createConfig(configContent()).id);
  });
  afterEach(async () => {
    await ledger.stop();
    await tenants.stop();
    fixture.remove();
  });

  /** A ledger as a start of the server makes it: it knows nothing of what another one has noted. */
  function begin(): UsageLedger {
    const { engine, clock, warnings } = tenants;
    const watched = {
      ...engine,
      use: ((id, work) => {
        used.push(id);
        return engine.use(id, work);
      }) as typeof engine.use,
    };
    const log = { warn: (fields: object) => warnings.push(fields) };
    return createUsageLedger({ control: fixture.control, engine: watched, clock, log });
  }
  async function tenant(): Promise<string> {
    const id = await tenants.tenant();
    fixture.control.addTenant(id, { name: 'Acme' }, ADMIN);
    return id;
  }
  const takeTurn = () => tenants.engine.use(tenantId, (store) => chat(store, configId, 'Hello', 'Hi'));
  const inFile = () => tenants.engine.use(tenantId, (store) => store.usageByDay());
  const inControl = () =>
    fixture.control
      .listUsage({ tenantId }, FIRST_PAGE)
      .data.map(({ tenantId: _, day, ...sums }) => ({ day, ...sums }))
      .reverse();
  const turnsInControl = () => inControl().reduce((sum, { turns }) => sum + turns, 0);

  it('writes nothing on the way of a turn, and everything when it is flushed', async () => {
    ledger.start(true);
    await ledger.recovered();
    await takeTurn();
    tenants.clock.advance(DAY_MS);
    await takeTurn();
    await takeTurn();
    expect(inControl()).to.deep.equal([]);
    await ledger.flush();
    expect(inControl()).to.deep.equal(await inFile());
    expect(inControl().map(({ turns }) => turns)).to.deep.equal([1, 2]);
    await ledger.flush();
    expect(turnsInControl()).to.equal(3);
  });

  it('flushes by itself some seconds after a turn', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      await takeTurn();
      mock.timers.tick(4999);
      expect(turnsInControl()).to.equal(0);
      mock.timers.tick(1);
      expect(turnsInControl()).to.equal(1);
    } finally {
      mock.timers.reset();
    }
  });

  it('agrees with the files whatever comes between turns: flushes, rebuilds, and ends of the process', async () => {
    ledger.start(true);
    await ledger.recovered();
    const steps = {
      turn: takeTurn,
      day: async () => tenants.clock.advance(DAY_MS / 3),
      flush: () => ledger.flush(),
      rebuild: () => ledger.rebuild(tenantId),
      async stop() {
        await ledger.stop();
        ledger.close();
        ledger = begin();
        ledger.start(true);
      },
      async kill() {
        // What was noted is lost with the process.
        await ledger.stop();
        ledger = begin();
        ledger.start(true);
      },
    };
    const names = Object.keys(steps) as (keyof typeof steps)[];
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...names), { maxLength: 12 }), async (plan) => {
        for (const name of plan) await steps[name]();
        await ledger.recovered();
        await ledger.flush();
        expect(inControl()).to.deep.equal(await inFile());
      }),
      { numRuns: 40 },
    );
  });

  it('opens no file after a clean stop, and after another end only those that were written since', async () => {
    const quiet = await tenant();
    ledger.start(true);
    await ledger.recovered();
    await takeTurn();
    await ledger.stop();
    ledger.close();
    used = [];
    ledger = begin();
    ledger.start(true);
    await ledger.recovered();
    expect(used).to.deep.equal([]);

    await takeTurn();
    // Killed. The files' times are the machine's, those of the ledger the test's.
    for (const id of [tenantId, quiet]) await tenants.engine.quiesce(id);
    const at = (ms: number) => (tenants.clock.now() + ms) / 1000;
    for (const name of readdirSync(tenants.folder).filter((file) => file.endsWith('.db'))) {
      const when = at(name.startsWith(quiet) ? -DAY_MS : 1000);
      utimesSync(join(tenants.folder, name), when, when);
    }
    await ledger.stop();
    used = [];
    ledger = begin();
    ledger.start(true);
    await ledger.recovered();
    expect(used).to.deep.equal([tenantId]);
    expect(turnsInControl()).to.equal(2);
  });

  it('makes up for a file that was put in place just before the process was killed', async () => {
    ledger.start(true);
    await ledger.recovered();
    await takeTurn();
    await ledger.flush();
    const [inPlace, killed] = [createGate(), createGate()];
    const replacing = ledger.replacing(tenantId, async () => {
      // Others go on while the new file is made, which is as old as its making.
      tenants.clock.advance(60_000);
      fixture.sql('UPDATE usage_days SET turns = 7');
      const made = tenants.clock.now() / 1000;
      await tenants.engine.quiesce(tenantId);
      for (const name of readdirSync(tenants.folder).filter((file) => file.endsWith('.db'))) {
        utimesSync(join(tenants.folder, name), made, made);
      }
      tenants.clock.advance(60_000);
      await ledger.flush();
      inPlace.open();
      await killed.pass();
      throw new Error('killed');
    });
    await inPlace.pass();
    const next = begin();
    next.start(true);
    await next.recovered();
    expect(inControl()).to.deep.equal(await inFile());
    killed.open();
    expect(await replacing.catch(String)).to.equal('Error: killed');
  });

  it('makes up at the next start for a restored tenant that could not be summed up', async () => {
    ledger.start(true);
    await ledger.recovered();
    await takeTurn();
    await ledger.flush();
    fixture.sql('UPDATE usage_days SET turns = 7');
    fixture.sql("CREATE TRIGGER full BEFORE INSERT ON usage_days BEGIN SELECT RAISE(ABORT, 'full'); END");
    await ledger.tryRebuild(tenantId);
    fixture.sql('DROP TRIGGER full');
    expect(turnsInControl()).to.equal(7);
    await ledger.stop();
    ledger.close();
    ledger = begin();
    ledger.start(true);
    await ledger.recovered();
    expect(inControl()).to.deep.equal(await inFile());
  });

  it('leaves to the next server what a command may not do', async () => {
    await takeTurn();
    ledger = begin();
    ledger.start(false);
    await ledger.recovered();
    ledger.close();
    expect(turnsInControl()).to.equal(0);
    ledger = begin();
    ledger.start(true);
    await ledger.recovered();
    expect(turnsInControl()).to.equal(1);
  });

  it('keeps what it could not write', async () => {
    fixture.sql("CREATE TRIGGER full BEFORE INSERT ON usage_days BEGIN SELECT RAISE(ABORT, 'full'); END");
    await takeTurn();
    const failed = await ledger.flush().then(
      () => null,
      (error: unknown) => String(error),
    );
    expect(failed).to.include('full');
    fixture.sql('DROP TRIGGER full');
    await ledger.flush();
    expect(turnsInControl()).to.equal(1);
  });

  it('sums up all tenants, those that cannot be read apart, one run at a time', async () => {
    await takeTurn();
    fixture.sql('DELETE FROM usage_days');
    const lost = await tenant();
    const list = tenants.engine.list;
    tenants.engine.list = async () => [...(await list()), fixture.ids()];
    ledger = begin();
    const failures: string[] = [];
    const steps: number[] = [];
    const running = ledger.rebuildAll(new AbortController().signal, {
      progress: async (done) => {
        steps.push(done);
      },
      failed: async ({ tenantId: id }) => {
        failures.push(id);
      },
    });
    expect(() => ledger.requireNoRebuild()).to.throw(/under way/);
    const { rebuilt, failed } = await running;
    expect([rebuilt, failed.map((failure) => failure.tenantId)]).to.deep.equal([2, failures]);
    expect(failures).to.have.length(1);
    expect(failures).not.to.include(lost);
    expect(steps.at(-1)).to.equal(3);
    expect(inControl()).to.deep.equal(await inFile());
    expect(() => ledger.requireNoRebuild()).not.to.throw();
  });
});
