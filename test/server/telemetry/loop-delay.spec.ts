import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import { createLateness, watchLoopDelay } from '../../../server/telemetry/loop-delay.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';

/** Keeps the event loop from turning, as too much work does. */
function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

describe('the event loop’s delay', () => {
  it('counts as overload while it is over the limit, and no longer', async () => {
    const watch = watchLoopDelay(20, systemClock);
    try {
      expect(watch.overloaded()).to.equal(false);
      while (!watch.overloaded()) {
        block(60);
        await setImmediate();
      }
      while (watch.overloaded()) await setImmediate();
    } finally {
      watch.stop();
    }
  });

  it('counts as overload also where each turn of the loop takes longer than a sample', async () => {
    const watch = watchLoopDelay(500, systemClock);
    try {
      for (let turns = 0; turns < 5 && !watch.overloaded(); turns += 1) {
        block(600);
        await setImmediate();
      }
      expect(watch.overloaded()).to.equal(true);
    } finally {
      watch.stop();
    }
  });

  it('counts from its second late sample on: a single stall is over by then', () => {
    const lateness = createLateness(500);
    const judged = [600, 10, 600, 501, 700, 500].map((meanMs) => {
      lateness.add(meanMs);
      return lateness.overloaded();
    });
    expect(judged).to.deep.equal([false, false, false, true, true, false]);
  });
});
