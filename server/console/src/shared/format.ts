const LOCALE = 'en';

const whole = new Intl.NumberFormat(LOCALE);
const compact = new Intl.NumberFormat(LOCALE, { notation: 'compact', maximumFractionDigits: 1 });
const cents = new Intl.NumberFormat(LOCALE, { style: 'currency', currency: 'USD' });
const micros = new Intl.NumberFormat(LOCALE, {
  style: 'currency',
  currency: 'USD',
  maximumSignificantDigits: 3,
});
const relative = new Intl.RelativeTimeFormat(LOCALE, { numeric: 'auto' });
const nearTime = new Intl.DateTimeFormat(LOCALE, { dateStyle: 'medium', timeStyle: 'short' });
const exactTime = new Intl.DateTimeFormat(LOCALE, {
  dateStyle: 'full',
  timeStyle: 'long',
});

export const formatCount = (count: number): string => whole.format(count);
/** `1.2M`; for axes and tiles. */
export const formatCompact = (count: number): string => compact.format(count);

/** Money to the cent, and what is less than a dollar to three digits: a turn costs fractions of a cent. */
export const formatUsd = (usd: number): string =>
  usd !== 0 && Math.abs(usd) < 1 ? micros.format(usd) : cents.format(usd);

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function formatBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  const value = bytes / 1024 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
}

export const formatMs = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;

export const formatPercent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** In the reader's own zone. */
export const formatTime = (iso: string): string => nearTime.format(new Date(iso));
export const formatExactTime = (iso: string): string => exactTime.format(new Date(iso));

const STEPS: [unit: Intl.RelativeTimeFormatUnit, seconds: number][] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];

/** `3 hours ago`, `tomorrow`. */
export function formatAgo(iso: string, nowMs: number): string {
  const seconds = Math.round((Date.parse(iso) - nowMs) / 1000);
  for (const [unit, length] of STEPS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return seconds <= 0 ? 'just now' : 'in a moment';
}
