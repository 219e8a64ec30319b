import { expect } from 'chai';
import fc from 'fast-check';
import { createPace } from '../../../server/http/pace.ts';
import { ManualClock } from '../../support/tenants.ts';

describe('files that are being sent', () => {
  const RATE = 1000;
  const start = () => {
    const clock = new ManualClock();
    const pace = createPace(RATE, clock, async (ms) => clock.advance(ms));
    return { clock, pace };
  };

  it('go no faster than the pace, however slow or fast they are taken', async () => {
    const step = fc.record({ bytes: fc.integer({ min: 1, max: 500 }), ms: fc.integer({ min: 0, max: 800 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step), async (steps) => {
        const { clock, pace } = start();
        const gone: { at: number; bytes: number }[] = [];
        for (const { bytes, ms } of steps) {
          await pace(bytes);
          gone.push({ at: clock.ms, bytes });
          clock.advance(ms);
        }
        // Of any of them, to any later one, what went before that one has had its time, but for a part of a millisecond.
        gone.forEach(({ at }, from) => {
          let bytes = 0;
          for (const later of gone.slice(from)) {
            expect(later.at - at).to.be.at.least((bytes * 1000) / RATE - 1);
            bytes += later.bytes;
          }
        });
      }),
    );
  });

  it('go at once where they are taken more slowly', async () => {
    const { clock, pace } = start();
    for (let piece = 0; piece < 20; piece += 1) {
      const before = clock.ms;
      await pace(100);
      expect(clock.ms).to.equal(before);
      clock.advance(100);
    }
  });

  it('share it where there are several', async () => {
    const clock = new ManualClock();
    const waits: number[] = [];
    const pace = createPace(RATE, clock, async (ms) => void waits.push(ms));
    await Promise.all([pace(100), pace(100), pace(100)]);
    expect(waits).to.deep.equal([100, 200]);
  });
});
