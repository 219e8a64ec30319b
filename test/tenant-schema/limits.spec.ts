import { expect } from 'chai';
import fc from 'fast-check';
import type { BegunTurn, TenantStore, TurnLimits } from '../../tenant-schema/store.ts';
import { faultOfSync } from '../support/faults.ts';
import { type MemoryStore, memoryStore } from '../support/stores.ts';
import {
  answered,
  begin,
  configContent,
  DEMAND,
  failed,
  NO_LIMITS,
  startEngine,
  turnRequest,
} from '../support/tenants.ts';

const COST = 1000;
const priced = { ...DEMAND, costMicroUsdMax: COST, priceVersion: 'list-1' };
const finish = (store: TenantStore, turn: BegunTurn, costMicroUsd: number) =>
  store.finishTurn(turn, { ...answered(turn, 'ok'), costMicroUsd, priceVersion: 'list-1' });

describe('the budget of a month', () => {
  const requestFor = (configId: string, budget: number, changes = {}) =>
    turnRequest(configId, 'x', {
      limits: { ...NO_LIMITS, monthlySpendMicroUsd: budget },
      admit: () => priced,
      ...changes,
    });

  it('for k turns admits exactly k of 50 that come at once, a hundred times', async () => {
    const world = startEngine({ openMax: 4 });
    try {
      for (let round = 0; round < 100; round += 1) {
        const id = await world.tenant();
        const configId = (await world.engine.use(id, (store) => store.createConfig(configContent()))).id;
        const turns = round % 12;
        const budget = turns * COST + ((round * 37) % COST);
        const results = await Promise.allSettled(
          Array.from({ length: 50 }, () =>
            world.engine.use(id, (store) => begin(store, requestFor(configId, budget))),
          ),
        );
        const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
        expect(50 - refused.length).to.equal(turns);
        for (const { code } of refused) expect(code).to.equal('budget_exceeded');
      }
    } finally {
      await world.stop();
    }
  });

  it('is never overrun and never refuses a turn that it holds, in whatever order turns begin and end', () => {
    const action = fc.record({ begins: fc.boolean(), which: fc.nat(49), cost: fc.nat(COST), end: fc.nat(3) });
    fc.assert(
      fc.property(fc.nat(8 * COST), fc.array(action, { minLength: 20, maxLength: 60 }), (budget, actions) => {
        const { store, configId, close } = memoryStore();
        try {
          let spent = 0;
          const running: BegunTurn[] = [];
          for (const { begins, which, cost, end } of actions) {
            const [turn] = begins ? [] : running.splice(which % Math.max(1, running.length), 1);
            if (turn && end === 0) store.failTurn(turn, failed);
            else if (turn && end === 1)
              store.failTurn(turn, { ...failed, costMicroUsd: cost, priceVersion: 'list-1' });
            else if (turn) finish(store, turn, cost);
            if (turn && end !== 0) spent += cost;
            if (!turn) {
              const fits = spent + running.length * COST + COST <= budget;
              const request = requestFor(configId, budget);
              if (fits) running.push(begin(store, request));
              else expect(faultOfSync(() => store.beginTurn(request)).code).to.equal('budget_exceeded');
            }
            expect(store.spendOfMonth()).to.deep.equal({
              month: '2026-01',
              spentMicroUsd: spent,
              reservedMicroUsd: running.length * COST,
            });
            expect(spent + running.length * COST).to.be.at.most(budget);
          }
        } finally {
          close();
        }
      }),
      { numRuns: 40 },
    );
  });

  describe('in one store', () => {
    let world: MemoryStore;
    beforeEach(() => {
      world = memoryStore();
    });
    afterEach(() => world.close());
    const request = (budget: number, changes = {}) => requestFor(world.configId, budget, changes);

    it('is told with what is spent and held, and when the month ends', () => {
      finish(world.store, begin(world.store, request(2500)), 1000);
      begin(world.store, request(2500));
      const held = faultOfSync(() => world.store.beginTurn(request(2500)));
      expect(held.message).to.equal(
        'This turn may cost up to $0.001; of the $0.0025 that this tenant may spend in 2026-01, $0.001 are spent and $0.001 held for turns that run. The month ends at 2026-02-01T00:00:00.000Z.',
      );
      expect(held.details).to.deep.include({ limit: 'monthly_spend_usd', retryAfterSeconds: 1 });
      const spent = faultOfSync(() => world.store.beginTurn(request(1900)));
      expect(spent.details.retryAfterSeconds).to.equal((Date.UTC(2026, 1, 1) - world.clock.now()) / 1000);
      const never = faultOfSync(() => world.store.beginTurn(request(999)));
      expect(never.details).not.to.have.property('retryAfterSeconds');
    });

    it('is a new one with the month, and a turn belongs to the one in which it began', () => {
      world.clock.ms = Date.UTC(2026, 0, 31, 23, 59, 59, 999);
      const turn = begin(world.store, request(1000));
      const late = faultOfSync(() => world.store.beginTurn(request(1000)));
      expect(late.code).to.equal('budget_exceeded');
      world.clock.advance(1);
      const next = begin(world.store, request(1000));
      finish(world.store, turn, 600);
      expect(world.store.spendOfMonth()).to.deep.equal({
        month: '2026-02',
        spentMicroUsd: 0,
        reservedMicroUsd: 1000,
      });
      finish(world.store, next, 700);
      expect(
        world.ask(
          'SELECT json_group_array(json_array(month, spent_micro_usd, reserved_micro_usd)) FROM spend',
        ),
      ).to.equal('[["2026-01",600,0],["2026-02",700,0]]');
    });

    it('is recorded without a limit too, so that one set later knows what was spent', () => {
      finish(world.store, begin(world.store, turnRequest(world.configId, 'x', { admit: () => priced })), 900);
      expect(faultOfSync(() => world.store.beginTurn(request(1800))).code).to.equal('budget_exceeded');
      begin(world.store, request(1900));
    });

    it('refuses what has no price', () => {
      const fault = faultOfSync(() => world.store.beginTurn(request(1e9, { admit: () => DEMAND })));
      expect(fault.code).to.equal('pricing_unavailable');
    });
  });
});

describe('what a turn holds', () => {
  let world: MemoryStore;
  beforeEach(() => {
    world = memoryStore();
  });
  afterEach(() => world.close());
  const limits: TurnLimits = {
    requestsPerMinute: 100,
    tokensPerMinute: 100,
    concurrentTurns: 2,
    monthlySpendMicroUsd: 2 * COST,
  };
  const request = (changes = {}) =>
    turnRequest(world.configId, 'x', {
      limits,
      admit: () => ({ ...priced, inputTokens: 10, outputTokensMax: 40 }),
      ...changes,
    });
  const figures = () => ({
    open: world.ask('SELECT count(*) FROM open_turns'),
    reserved: world.store.spendOfMonth().reservedMicroUsd,
    tokensLeft: world.store.standing(limits).tokens?.remaining,
  });

  const ends: Record<string, (turn: BegunTurn) => void> = {
    'its answer': (turn) => void finish(world.store, turn, 10),
    'a fault': (turn) =>
      void world.store.failTurn(turn, { ...failed, costMicroUsd: 10, priceVersion: 'list-1' }),
    'an abort': (turn) =>
      void world.store.finishTurn(turn, {
        ...answered(turn, 'half'),
        status: 'aborted',
        errorCode: 'client_closed_request',
        costMicroUsd: 10,
      }),
  };
  for (const [name, end] of Object.entries(ends)) {
    it(`comes back with ${name}, once`, () => {
      const turn = begin(world.store, request());
      expect(figures()).to.deep.equal({ open: 1, reserved: COST, tokensLeft: 50 });
      end(turn);
      end(turn);
      expect(figures()).to.deep.equal({ open: 0, reserved: 0, tokensLeft: 93 });
      expect(world.store.spendOfMonth().spentMicroUsd).to.equal(10);
      expect(world.reported).to.have.length(1);
    });
  }

  it('comes back when it is lost, as soon as another turn needs it', () => {
    begin(world.store, request());
    begin(world.store, request());
    const full = faultOfSync(() => world.store.beginTurn(request()));
    expect(full.details.limit).to.be.oneOf([
      'tokens_per_minute',
      'monthly_spend_usd',
      'max_concurrent_turns',
    ]);
    const turn = begin(world.store, request({ isRunning: () => false }));
    expect(figures()).to.deep.equal({ open: 1, reserved: COST, tokensLeft: 50 });
    expect(world.store.listLogs({}, { limit: 9, cursor: null }).data).to.have.length(2);
    for (const log of world.store.listLogs({}, { limit: 9, cursor: null }).data) {
      expect(log).to.include({
        status: 'aborted',
        errorCode: 'server_stopped',
        usageEstimated: true,
        costMicroUsd: 0,
        priceVersion: 'list-1',
      });
    }
    finish(world.store, turn, 0);
  });

  it('comes back with the process that held it', async () => {
    const first = startEngine();
    const id = await first.tenant();
    const configId = (await first.engine.use(id, (store) => store.createConfig(configContent()))).id;
    const ask = () =>
      turnRequest(configId, 'x', {
        limits: { ...NO_LIMITS, concurrentTurns: 1, monthlySpendMicroUsd: COST },
        admit: () => priced,
      });
    await first.engine.use(id, (store) => begin(store, ask()));
    await first.engine.close();
    const told: object[] = [];
    const second = first.restart({ onUsage: (tenant, usage) => told.push({ tenant, ...usage }) });
    try {
      await second.engine.use(id, (store) => finish(store, begin(store, ask()), 5));
      expect(told).to.have.length(2);
      expect(told[1]).to.deep.include({
        tenant: id,
        day: '2026-01-15',
        turns: 1,
        errors: 0,
        costMicroUsd: 5,
      });
    } finally {
      await second.stop();
    }
  });

  it('is a place among those that run at once', () => {
    const two = { limits: { ...NO_LIMITS, concurrentTurns: 2 } };
    const turn = begin(world.store, request(two));
    begin(world.store, request(two));
    const fault = faultOfSync(() => world.store.beginTurn(request(two)));
    expect(fault.code).to.equal('concurrency_limited');
    expect(fault.details).to.deep.include({ limit: 'max_concurrent_turns', retryAfterSeconds: 1 });
    finish(world.store, turn, 0);
    begin(world.store, request(two));
  });

  it('is nothing where a turn is refused, for whatever reason: the file is as it was', () => {
    const { conversationId } = begin(world.store, request({ limits: NO_LIMITS }));
    begin(world.store, request());
    const refused: Record<string, object> = {
      rate_limited: { limits: { ...limits, requestsPerMinute: 1 } },
      concurrency_limited: { limits: { ...NO_LIMITS, concurrentTurns: 2 } },
      budget_exceeded: { limits: { ...limits, monthlySpendMicroUsd: COST } },
      conversation_busy: { conversationId },
      not_found: { configId: '019bbbbb-0000-7000-8000-000000000000' },
      storage_quota_exceeded: { storageBytesMax: 1 },
    };
    const key = { keyHash: 'a'.repeat(64), fingerprint: 'b'.repeat(64) };
    for (const [code, changes] of Object.entries(refused)) {
      world.clock.advance(50_000);
      const before = world.content();
      expect(
        faultOfSync(() => world.store.beginTurn(request({ idempotency: key, ...changes }))).code,
      ).to.equal(code);
      expect(world.content(), code).to.deep.equal(before);
      expect(world.reported).to.deep.equal([]);
      world.clock.advance(-50_000);
    }
  });

  it('names the limit that holds longest, and for how long', () => {
    begin(world.store, request());
    world.clock.advance(20_000);
    const both = { ...limits, requestsPerMinute: 1, concurrentTurns: 1 };
    const fault = faultOfSync(() => world.store.beginTurn(request({ limits: both })));
    expect(fault.details).to.deep.include({ limit: 'requests_per_minute', retryAfterSeconds: 40 });
    expect(fault.details.standing?.requests).to.deep.equal({ limit: 1, remaining: 0, resetMs: 40_000 });
  });
});
