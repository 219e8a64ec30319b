import { expect } from 'chai';
import fc from 'fast-check';
import { Fault } from '../../tenant-schema/fault.ts';
import type { BegunTurn, LimitStanding, TurnLimits } from '../../tenant-schema/store.ts';
import { faultOfSync } from '../support/faults.ts';
import { type MemoryStore, memoryStore } from '../support/stores.ts';
import { answered, begin, DEMAND, failed, NO_LIMITS, turnRequest } from '../support/tenants.ts';

const MINUTE = 60_000;
const usageOf = (inputTokens: number, outputTokens: number) => ({
  inputTokens,
  outputTokens,
  cachedInputTokens: 0,
  cacheWriteInputTokens: 0,
  reasoningTokens: 0,
});

interface Turn {
  begun: BegunTurn | null;
  createdAt: number;
  /** When it counts from; null where rows were not kept. */
  at: number | null;
  tokens: number;
  ended: boolean;
}

/** The same limits, counted anew from all turns each time. */
class Model {
  turns: Turn[] = [];
  recording = false;

  static isAsked = ({ requestsPerMinute, tokensPerMinute }: TurnLimits): boolean =>
    requestsPerMinute !== null || tokensPerMinute !== null;

  /** As the turns count under these limits at this time. */
  counted(limits: TurnLimits, now: number): { at: number; tokens: number; turn: Turn }[] {
    if (!Model.isAsked(limits)) return [];
    return this.turns
      .map((turn) => ({ turn, at: this.recording ? turn.at : turn.createdAt, tokens: turn.tokens }))
      .flatMap((row) => (row.at === null ? [] : [{ ...row, at: Math.min(row.at, now) }]))
      .map((row) => (this.recording || row.turn.ended ? row : { ...row, tokens: 0 }))
      .filter(({ at, turn }) => (this.recording ? at : turn.createdAt) > now - MINUTE);
  }

  standing(limits: TurnLimits, now: number): LimitStanding {
    const rows = this.counted(limits, now);
    const sum = rows.reduce((total, { tokens }) => total + tokens, 0);
    const resetOf = (times: number[]) => (times.length === 0 ? 0 : Math.max(...times) + MINUTE - now);
    const { requestsPerMinute: requests, tokensPerMinute: tokens } = limits;
    return {
      requests:
        requests === null
          ? null
          : {
              limit: requests,
              remaining: Math.max(0, requests - rows.length),
              resetMs: resetOf(rows.map(({ at }) => at)),
            },
      tokens:
        tokens === null
          ? null
          : {
              limit: tokens,
              remaining: Math.max(0, tokens - sum),
              resetMs: resetOf(rows.filter((row) => row.tokens > 0).map(({ at }) => at)),
            },
    };
  }

  /** Which limits keep a turn out at `time`, if nothing else happens from `now` on. */
  blocking(limits: TurnLimits, inputTokens: number, now: number, time: number): string[] {
    const rows = this.counted(limits, now).filter(({ at }) => at > time - MINUTE);
    const sum = rows.reduce((total, { tokens }) => total + tokens, 0);
    const { requestsPerMinute, tokensPerMinute } = limits;
    return [
      ...(requestsPerMinute !== null && rows.length >= requestsPerMinute ? ['requests_per_minute'] : []),
      ...(tokensPerMinute !== null && sum + inputTokens > tokensPerMinute ? ['tokens_per_minute'] : []),
    ];
  }

  /** When it is admitted, if nothing else happens; null if never. */
  firstTime(limits: TurnLimits, inputTokens: number, now: number): number | null {
    const times = this.counted(limits, now).map(({ at }) => at + MINUTE);
    return (
      [now, ...times.sort((a, b) => a - b)].find(
        (time) => this.blocking(limits, inputTokens, now, time).length === 0,
      ) ?? null
    );
  }

  admit(limits: TurnLimits, demand: { inputTokens: number; outputTokensMax: number }, now: number): Turn {
    this.bringUp(limits, now);
    const sum = this.counted(limits, now).reduce((total, { tokens }) => total + tokens, 0);
    const left = limits.tokensPerMinute === null ? Infinity : limits.tokensPerMinute - sum;
    const at = Model.isAsked(limits) ? now : null;
    const tokens = Math.min(demand.inputTokens + demand.outputTokensMax, left);
    const turn = { begun: null, createdAt: now, at, tokens, ended: false };
    this.turns.push(turn);
    return turn;
  }

  /** The clock may have gone back: what lies ahead of it counts from now on. */
  bringUp(limits: TurnLimits, now: number): void {
    const rows = this.counted(limits, now);
    for (const turn of this.turns) turn.at = null;
    for (const { turn, at, tokens } of rows) Object.assign(turn, { at, tokens });
    this.recording = Model.isAsked(limits);
  }
}

const limit = (max: number) => fc.option(fc.integer({ min: 0, max }), { nil: null, freq: 4 });
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('begin' as const), input: fc.nat(60), output: fc.nat(300) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      which: fc.nat(50),
      input: fc.nat(60),
      output: fc.nat(300),
      fails: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.oneof(fc.nat(2000), fc.nat(70_000), fc.constantFrom(1, 59_999, 60_000, 60_001)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('back' as const), ms: fc.nat(200_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('limits' as const), requests: limit(5), tokens: limit(200) }),
  },
);

/** Takes the steps in a store and in the model, and holds the one to the other after each. */
function follow(world: MemoryStore, steps: (typeof step extends fc.Arbitrary<infer S> ? S : never)[]): void {
  const { store, clock, configId } = world;
  const model = new Model();
  let limits: TurnLimits = { ...NO_LIMITS, requestsPerMinute: 3, tokensPerMinute: 150 };
  for (const action of steps) {
    const now = clock.now();
    if (action.kind === 'wait') clock.advance(action.ms);
    else if (action.kind === 'back') clock.advance(-action.ms);
    else if (action.kind === 'limits') {
      limits = { ...NO_LIMITS, requestsPerMinute: action.requests, tokensPerMinute: action.tokens };
    } else if (action.kind === 'end') {
      const running = model.turns.filter(({ ended }) => !ended);
      const turn = running[action.which % Math.max(1, running.length)];
      if (!turn?.begun) continue;
      const usage = usageOf(action.input, action.output);
      if (action.fails) store.failTurn(turn.begun, { ...failed, usage });
      else store.finishTurn(turn.begun, { ...answered(turn.begun, 'ok'), usage });
      turn.ended = true;
      turn.tokens = action.input + action.output;
    } else {
      const demand = { ...DEMAND, inputTokens: action.input, outputTokensMax: action.output };
      const request = turnRequest(configId, 'x', { limits, admit: () => demand });
      const blocking = model.blocking(limits, action.input, now, now);
      if (blocking.length === 0) {
        const begun = begin(store, request);
        const turn = model.admit(limits, demand, now);
        Object.assign(turn, { begun, createdAt: begun.createdAt });
        expect(begun.standing).to.deep.equal(model.standing(limits, now));
      } else {
        const fault = faultOfSync(() => store.beginTurn(request));
        const time = model.firstTime(limits, action.input, now);
        expect(fault.code).to.equal('rate_limited');
        expect(blocking).to.include(fault.details.limit);
        expect(fault.details.standing).to.deep.equal(model.standing(limits, now));
        expect(fault.details.retryAfterSeconds).to.equal(
          time === null ? 60 : Math.max(1, Math.ceil((time - now) / 1000)),
        );
        // What lay ahead of the clock counts from here on, also where a turn was refused.
        const ahead = model
          .counted(limits, now)
          .some(({ turn }) => (model.recording ? (turn.at ?? 0) : turn.createdAt) > now);
        if (ahead) model.bringUp(limits, now);
      }
    }
    expect(store.standing(limits)).to.deep.equal(model.standing(limits, clock.now()));
  }
}

describe('the limits of a rolling minute', () => {
  let world: MemoryStore;
  beforeEach(() => {
    world = memoryStore();
  });
  afterEach(() => world.close());
  const limited = (limits: Partial<TurnLimits>, demand = {}) =>
    turnRequest(world.configId, 'x', {
      limits: { ...NO_LIMITS, ...limits },
      admit: () => ({ ...DEMAND, ...demand }),
    });

  it('are exact at any times and ends of turns, limits that change and clocks that go back', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const own = memoryStore();
        try {
          follow(own, steps);
        } finally {
          own.close();
        }
      }),
      { numRuns: 100 },
    );
  });

  it('let the next turn in at the very millisecond at which the first is a minute old', () => {
    world.clock.ms = Date.UTC(2026, 0, 31, 23, 59, 59, 999);
    begin(world.store, limited({ requestsPerMinute: 1 }));
    world.clock.advance(59_999);
    const fault = faultOfSync(() => world.store.beginTurn(limited({ requestsPerMinute: 1 })));
    expect(fault.details).to.deep.include({ limit: 'requests_per_minute', retryAfterSeconds: 1 });
    world.clock.advance(1);
    begin(world.store, limited({ requestsPerMinute: 1 }));
  });

  it('count what was done in the minute before a limit came', () => {
    for (const text of ['a', 'b']) {
      const turn = begin(world.store, turnRequest(world.configId, text));
      world.store.finishTurn(turn, { ...answered(turn, 'ok'), usage: usageOf(30, 10) });
    }
    world.clock.advance(10_000);
    expect(world.store.standing({ ...NO_LIMITS, tokensPerMinute: 100 }).tokens).to.deep.equal({
      limit: 100,
      remaining: 20,
      resetMs: 50_000,
    });
    const fault = faultOfSync(() => world.store.beginTurn(limited({ requestsPerMinute: 2 })));
    expect(fault.details.retryAfterSeconds).to.equal(50);
  });

  it('learn what turns have used that ran when a limit came', () => {
    const running = begin(world.store, turnRequest(world.configId, 'x'));
    begin(world.store, limited({ tokensPerMinute: 100 }, { inputTokens: 5, outputTokensMax: 5 }));
    const left = () => world.store.standing({ ...NO_LIMITS, tokensPerMinute: 100 }).tokens?.remaining;
    expect(left()).to.equal(90);
    world.store.finishTurn(running, { ...answered(running, 'ok'), usage: usageOf(30, 10) });
    expect(left()).to.equal(50);
  });

  it('never keep small turns out because they might have been long', () => {
    for (let turns = 0; turns < 8; turns += 1) {
      const turn = begin(
        world.store,
        limited({ tokensPerMinute: 100 }, { inputTokens: 5, outputTokensMax: 1e6 }),
      );
      world.store.finishTurn(turn, { ...answered(turn, 'ok'), usage: usageOf(5, 5) });
    }
    expect(world.store.standing({ ...NO_LIMITS, tokensPerMinute: 100 }).tokens?.remaining).to.equal(20);
  });

  it('hold what parallel turns may use, so that they do not overshoot together', () => {
    const request = limited({ tokensPerMinute: 100 }, { inputTokens: 5, outputTokensMax: 60 });
    begin(world.store, request);
    begin(world.store, request);
    expect(faultOfSync(() => world.store.beginTurn(request)).details.limit).to.equal('tokens_per_minute');
  });

  it('say so where a turn alone is more than a minute allows', () => {
    const fault = faultOfSync(() =>
      world.store.beginTurn(limited({ tokensPerMinute: 10 }, { inputTokens: 11 })),
    );
    expect(fault.message).to.match(/about 11 tokens, more than the 10 .* never admitted/);
    expect(fault).to.be.instanceOf(Fault);
  });

  it('do not hold for an hour where the clock goes back by one', () => {
    begin(world.store, limited({ requestsPerMinute: 1 }));
    world.clock.advance(-3_600_000);
    const refused = () => faultOfSync(() => world.store.beginTurn(limited({ requestsPerMinute: 1 })));
    expect(refused().details.retryAfterSeconds).to.equal(60);
    world.clock.advance(30_000);
    expect(refused().details.retryAfterSeconds).to.equal(30);
    world.clock.advance(30_000);
    begin(world.store, limited({ requestsPerMinute: 1 }));
  });

  it('keep no rows where nobody asks for them', () => {
    begin(world.store, limited({ requestsPerMinute: 5 }));
    expect(world.ask('SELECT count(*) FROM admissions')).to.equal(1);
    begin(world.store, turnRequest(world.configId, 'y'));
    expect(world.ask('SELECT count(*) FROM admissions')).to.equal(0);
    for (let turns = 0; turns < 5; turns += 1) begin(world.store, limited({ requestsPerMinute: 9 }));
    world.clock.advance(60_000);
    begin(world.store, limited({ requestsPerMinute: 9 }));
    expect(world.ask('SELECT count(*) FROM admissions')).to.equal(1);
  });
});
