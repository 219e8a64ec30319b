import { expect } from 'chai';
import { expired } from '../../../server/operations/retention.ts';

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
const NOW = Date.UTC(2026, 5, 15, 12);

type Trigger = 'manual' | 'schedule' | 'restore';

/** One backup every `stepMs` back from now, newest first. */
const every = (stepMs: number, count: number, trigger: Trigger = 'schedule') =>
  Array.from({ length: count }, (_, index) => ({ createdAt: NOW - index * stepMs, trigger }));

describe('the retention of backups', () => {
  it('keeps the newest, whatever their age', () => {
    const backups = every(365 * DAY_MS, 10);
    expect(expired(backups, { newest: 7, daily: 0, weekly: 0 }, NOW)).to.deep.equal(backups.slice(7));
  });

  it('keeps the newest of each of the last days and weeks', () => {
    const backups = every(HOUR_MS, 24 * 60);
    const gone = new Set(expired(backups, { newest: 3, daily: 7, weekly: 4 }, NOW));
    const ages = backups
      .filter((backup) => !gone.has(backup))
      .map(({ createdAt }) => (NOW - createdAt) / HOUR_MS);
    // Three newest; 23:00 of the six days before today; the last hour of three weeks, which begin on Thursdays.
    expect(ages).to.deep.equal([0, 1, 2, 13, 37, 61, 85, 109, 133, 277, 445]);
  });

  it('leaves the days and weeks alone when the clock is ahead for a while', () => {
    const backups = every(HOUR_MS, 24 * 60);
    const keep = { newest: 3, daily: 7, weekly: 4 };
    const inTime = new Set(expired(backups, keep, NOW));
    const ahead = new Set(expired(backups, keep, NOW + 365 * DAY_MS));
    expect(backups.filter((backup) => ahead.has(backup) && !inTime.has(backup))).to.deep.equal([]);
  });

  it('does not count one that serves as both a day and a week twice', () => {
    const backups = every(DAY_MS, 3);
    expect(expired(backups, { newest: 1, daily: 7, weekly: 4 }, NOW)).to.deep.equal([]);
  });

  for (const trigger of ['manual', 'restore'] as const) {
    it(`keeps what a ${trigger} made for a week, beside all others`, () => {
      const backups = every(12 * HOUR_MS, 20, trigger);
      const gone = expired(backups, { newest: 1, daily: 0, weekly: 0 }, NOW);
      expect(gone).to.deep.equal(backups.slice(15));
    });
  }

  it('has nothing to do where there is nothing', () => {
    expect(expired([], { newest: 7, daily: 7, weekly: 4 }, NOW)).to.deep.equal([]);
  });
});
