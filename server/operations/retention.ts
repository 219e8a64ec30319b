const DAY_MS = 24 * 60 * 60 * 1000;
const WEEK_MS = 7 * DAY_MS;

/** How many backups of a tenant are kept. */
export interface Retention {
  /** The newest ones, whatever their age. */
  newest: number;
  /** Beside those, the newest of each of the last so many days (UTC) that have one … */
  daily: number;
  /** … and of each of the last so many such weeks. */
  weekly: number;
}

interface Kept {
  createdAt: number;
  trigger: 'manual' | 'schedule' | 'restore' | 'migration';
}

/** What a person asked for, or what a restore replaced, is missed the day after, not within the hour. */
const BY_HAND_MS = 7 * DAY_MS;

/**
 * The backups that may go. Those made by hand or by a restore stay for a week whatever the counts say; after that
 * they are as all others.
 * @param backups newest first
 */
export function expired<T extends Kept>(backups: readonly T[], keep: Retention, now: number): T[] {
  const kept = new Set<T>(backups.slice(0, keep.newest));
  // Not counted back from today: a clock that is ahead for a while would leave none of them.
  const keepNewestOfEach = (periodMs: number, periods: number): void => {
    const seen = new Set<number>();
    for (const backup of backups) {
      const period = Math.floor(backup.createdAt / periodMs);
      if (seen.has(period)) continue;
      if (seen.size >= periods) break;
      seen.add(period);
      kept.add(backup);
    }
  };
  keepNewestOfEach(DAY_MS, keep.daily);
  keepNewestOfEach(WEEK_MS, keep.weekly);
  return backups.filter(
    (backup) => !kept.has(backup) && (backup.trigger === 'schedule' || now - backup.createdAt > BY_HAND_MS),
  );
}
