import { expect } from 'chai';
import type { TurnRequest } from '../../tenant-schema/store.ts';
import { faultOfSync } from '../support/faults.ts';
import { type MemoryStore, memoryStore } from '../support/stores.ts';
import { answered, begin, failed, NO_LIMITS, turnRequest } from '../support/tenants.ts';

const HOUR = 3_600_000;
const hash = (digit: string) => digit.repeat(64);

describe('a request that comes again under its key', () => {
  let world: MemoryStore;
  beforeEach(() => {
    world = memoryStore();
  });
  afterEach(() => world.close());
  const request = (changes: Partial<TurnRequest> = {}, key = 'a', fingerprint = 'f') =>
    turnRequest(world.configId, 'x', {
      idempotency: { keyHash: hash(key), fingerprint: hash(fingerprint) },
      ...changes,
    });
  const answer = { response: 'Done.', usage: { input_tokens: 1 } };
  /** A whole turn under a key. */
  const done = (key = 'a') => {
    const turn = begin(world.store, request({}, key));
    world.store.finishTurn(turn, { ...answered(turn, 'Done.'), answer });
    return turn;
  };
  const keys = () => world.ask('SELECT count(*) FROM idempotency');

  it('is answered as before, before any limit is asked, and uses nothing', () => {
    done();
    const before = world.content();
    const nothing = { requestsPerMinute: 0, tokensPerMinute: 0, concurrentTurns: 0, monthlySpendMicroUsd: 0 };
    const again = world.store.beginTurn(request({ limits: nothing, storageBytesMax: 1 }));
    expect(again).to.deep.equal({ kind: 'replayed', answer });
    expect(world.content()).to.deep.equal(before);
  });

  it('is answered as before where its config is gone by then', () => {
    done();
    world.store.deleteConfig(world.configId);
    expect(world.store.beginTurn(request()).kind).to.equal('replayed');
  });

  it('is refused while the first runs, and where it is not the same', () => {
    const turn = begin(world.store, request());
    const running = faultOfSync(() => world.store.beginTurn(request()));
    expect([running.code, running.details.retryAfterSeconds]).to.deep.equal(['idempotency_in_progress', 1]);
    const other = () => faultOfSync(() => world.store.beginTurn(request({}, 'a', 'e'))).code;
    expect(other()).to.equal('idempotency_conflict');
    world.store.finishTurn(turn, { ...answered(turn, 'Done.'), answer });
    expect(other()).to.equal('idempotency_conflict');
  });

  it('begins anew where the first failed or was broken off, also with another body', () => {
    world.store.failTurn(begin(world.store, request()), failed);
    expect(keys()).to.equal(0);
    const turn = begin(world.store, request({}, 'a', 'e'));
    world.store.finishTurn(turn, {
      ...answered(turn, 'Do'),
      status: 'aborted',
      errorCode: 'x',
      answer: null,
    });
    expect(keys()).to.equal(0);
    begin(world.store, request());
  });

  it('begins anew where the first is lost, which is closed', () => {
    const lost = begin(world.store, request());
    const turn = begin(world.store, request({ isRunning: () => false }, 'a', 'e'));
    expect(world.store.listLogs({}, { limit: 9, cursor: null }).data.map(({ id }) => id)).to.deep.equal([
      lost.id,
    ]);
    world.store.finishTurn(lost, { ...answered(lost, 'late'), answer: { late: true } });
    world.store.finishTurn(turn, { ...answered(turn, 'Done.'), answer });
    expect(world.store.beginTurn(request({}, 'a', 'e'))).to.deep.include({ answer });
  });

  it('is answered as before for 24 hours and begins anew after that', () => {
    done();
    world.clock.advance(24 * HOUR - 1);
    expect(world.store.beginTurn(request()).kind).to.equal('replayed');
    world.clock.advance(1);
    expect(world.store.beginTurn(request({}, 'a', 'e')).kind).to.equal('begun');
  });

  it('leaves nothing for good: old answers go a few at a time as new ones come', () => {
    for (const key of '0123456789bcdef') done(key);
    world.clock.advance(24 * HOUR);
    done();
    expect(keys()).to.equal(15 - 8 + 1);
    done('b');
    expect(keys()).to.equal(2);
  });

  it('leaves nothing for good where no key comes any more', () => {
    done();
    world.clock.advance(24 * HOUR - 1);
    begin(world.store, turnRequest(world.configId, 'x'));
    expect(keys()).to.equal(1);
    // It has looked just now.
    world.clock.advance(60_000);
    begin(world.store, turnRequest(world.configId, 'x'));
    expect(keys()).to.equal(0);
  });

  it('takes no key where it is refused', () => {
    const limits = { ...NO_LIMITS, concurrentTurns: 0 };
    expect(faultOfSync(() => world.store.beginTurn(request({ limits }))).code).to.equal(
      'concurrency_limited',
    );
    expect(keys()).to.equal(0);
  });
});
