/** Now, in epoch milliseconds; the page's one reader of the clock. */
export const now = (): number => Date.now();

export const DAY_MS = 24 * 60 * 60 * 1000;

/** The beginning of a day (`2026-01-31`) in the reader's zone, in UTC; undefined for what is none. */
export function startOfDay(day: string | undefined): string | undefined {
  const time = day === undefined ? Number.NaN : Date.parse(`${day}T00:00:00`);
  return Number.isNaN(time) ? undefined : new Date(time).toISOString();
}

/** The UTC day (`2026-01-31`) that lies `days` before today. */
export const utcDayBefore = (days: number): string =>
  new Date(now() - days * DAY_MS).toISOString().slice(0, 10);

/** The last `days` UTC days with today, oldest first. */
export const lastUtcDays = (days: number): string[] =>
  Array.from({ length: days }, (_, index) => utcDayBefore(days - 1 - index));
