import { lastUtcDays } from '../clock.ts';

/** What the API says of the usage of a day, or of several. */
export interface Usage {
  turns: number;
  errors: number;
  input_tokens: number;
  output_tokens: number;
  /** Null where the price of any of the turns is unknown. */
  cost_usd: number | null;
}

/** One of each of the last `days`, oldest first: a day on which nothing happened is a day too. */
export function fillDays(rows: readonly (Usage & { day?: string })[], days: number) {
  const byDay = new Map(rows.map((row) => [row.day, row]));
  return lastUtcDays(days).map((day) => {
    const row = byDay.get(day);
    return {
      day,
      turns: (row?.turns ?? 0) - (row?.errors ?? 0),
      errors: row?.errors ?? 0,
      input_tokens: row?.input_tokens ?? 0,
      output_tokens: row?.output_tokens ?? 0,
      cost_usd: row?.cost_usd ?? 0,
    };
  });
}

export function sumUsage(rows: readonly Usage[]): Usage {
  const sum: Usage = { turns: 0, errors: 0, input_tokens: 0, output_tokens: 0, cost_usd: 0 };
  for (const row of rows) {
    sum.turns += row.turns;
    sum.errors += row.errors;
    sum.input_tokens += row.input_tokens;
    sum.output_tokens += row.output_tokens;
    sum.cost_usd = sum.cost_usd === null || row.cost_usd === null ? null : sum.cost_usd + row.cost_usd;
  }
  return sum;
}
