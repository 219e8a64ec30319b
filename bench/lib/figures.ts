/** The value below which the given part of all lies; `part` from 0 to 1. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.ceil(sorted.length * part), sorted.length) - 1] ?? Number.NaN;
}

/** Of an even number of values it lies between the two in the middle. */
function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

/** A figure over several repetitions. */
export interface Spread {
  median: number;
  min: number;
  max: number;
}

export const spreadOf = (values: readonly number[]): Spread => ({
  median: medianOf(values),
  min: Math.min(...values),
  max: Math.max(...values),
});

export const format = (value: number, digits = 2): string => value.toFixed(digits);
export const formatSpread = ({ median, min, max }: Spread, digits = 2): string =>
  `${format(median, digits)} (${format(min, digits)}–${format(max, digits)})`;

export type Verdict = 'met' | 'missed' | 'unclear';

/**
 * Whether a ratio stays at or below `max`. Only told where the middle half of the repetitions agrees: on a busy
 * machine a median alone lands on either side by chance.
 */
export function verdictOf(ratios: readonly number[], max: number): Verdict {
  if (quantile(ratios, 0.75) <= max) return 'met';
  return quantile(ratios, 0.25) > max ? 'missed' : 'unclear';
}

/** Whether a ratio stays at or above `min`, told as carefully. */
export function verdictAtLeast(ratios: readonly number[], min: number): Verdict {
  if (quantile(ratios, 0.25) >= min) return 'met';
  return quantile(ratios, 0.75) < min ? 'missed' : 'unclear';
}
