import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { PROVIDER_NAMES, type ProviderName } from '../providers/catalogue.ts';
import { defaultCacheWrite, type ListedModel } from './price-list.ts';
import { type Rates, toRate } from './rates.ts';

const FILE_BYTES_MAX = 4 * 1024 * 1024;
const USD_PER_MILLION_MAX = 10_000;
/** More tokens than any answer has. */
const OUTPUT_TOKENS_MAX = 10_000_000;
const FAULTS_SHOWN_MAX = 3;

/** The name that stands for every model which nothing else prices. */
export const ANY_MODEL = '*';

const usd = z
  .number({ error: 'must be a number of US dollars per million tokens' })
  .min(0, { error: 'must not be negative' })
  .max(USD_PER_MILLION_MAX, { error: `must be at most ${USD_PER_MILLION_MAX} US dollars per million tokens` })
  .refine((value) => Math.round(value * 1e6) / 1e6 === value, { error: 'must have at most 6 decimals' });

const entry = z.strictObject({
  input: usd,
  output: usd,
  cached_input: usd.optional(),
  cache_write: usd.optional(),
  cache_write_1h: usd.optional(),
  reasoning: usd.optional(),
  output_tokens_max: z
    .int({ error: 'must be a whole number' })
    .min(1, { error: 'must be at least 1' })
    .max(OUTPUT_TOKENS_MAX, { error: `must be at most ${OUTPUT_TOKENS_MAX}` })
    .optional(),
});

const file = z.partialRecord(z.enum(PROVIDER_NAMES), z.record(z.string().min(1).max(200), entry));

export interface PricesFile {
  find(provider: ProviderName, model: string): FilePrice | null;
  /** Names the content: another one has another name. */
  hash: string;
}

export interface FilePrice extends ListedModel {
  outputTokensMax: number | null;
}

/** A file of prices that cannot be used; the message is one line that names the place. */
export class PricesFileError extends Error {
  constructor(message: string) {
    super(message.replace(/\s+/g, ' '));
    this.name = 'PricesFileError';
  }
}

/** Reads a file of prices. @throws `PricesFileError` */
export function readPricesFile(path: string): PricesFile {
  const text = readText(path);
  const parsed = file.safeParse(parseJson(text));
  if (!parsed.success) throw new PricesFileError(faultsOf(parsed.error.issues));
  const prices = new Map<string, FilePrice>();
  for (const [provider, models] of Object.entries(parsed.data)) {
    for (const [model, given] of Object.entries(models ?? {})) {
      prices.set(keyOf(provider, model), toPrice(given, provider as ProviderName, model));
    }
  }
  return {
    find: (provider, model) => prices.get(keyOf(provider, model)) ?? null,
    hash: createHash('sha256').update(text).digest('hex').slice(0, 12),
  };
}

/** No provider's name has a blank in it. */
const keyOf = (provider: string, model: string): string => `${provider} ${model}`;

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > FILE_BYTES_MAX) throw new PricesFileError(`it is larger than ${FILE_BYTES_MAX} bytes`);
    return readFileSync(path, 'utf8').replace(/^\ufeff/, '');
  } catch (error) {
    if (error instanceof PricesFileError || !(error instanceof Error)) throw error;
    throw new PricesFileError(`it cannot be read (${'code' in error ? String(error.code) : error.message})`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const [, position] = /at position (\d+)/.exec(String(error)) ?? [];
    if (position === undefined) throw new PricesFileError('it is not JSON');
    const lines = text.slice(0, Number(position)).split('\n');
    throw new PricesFileError(
      `line ${lines.length}, column ${(lines.at(-1)?.length ?? 0) + 1}: it is not JSON`,
    );
  }
}

function faultsOf(issues: readonly z.core.$ZodIssue[]): string {
  const told = issues.slice(0, FAULTS_SHOWN_MAX).map((issue) => {
    const place = issue.path.map(String).join('.');
    if (issue.code === 'unrecognized_keys') {
      const names = issue.keys.join(', ');
      return place === ''
        ? `${names} is no provider; there are ${PROVIDER_NAMES.join(', ')}`
        : `${place} has unknown fields: ${names}`;
    }
    return place === '' ? `the file ${issue.message}` : `${place} ${issue.message}`;
  });
  const rest = issues.length - told.length;
  return `${told.join('; ')}${rest > 0 ? `; and ${rest} more` : ''}`;
}

/** What an entry does not price costs as the tokens of which it is a kind. */
function toPrice(given: z.infer<typeof entry>, provider: ProviderName, model: string): FilePrice {
  const factor = defaultCacheWrite(provider, model);
  const write = toRate(given.cache_write ?? given.input * factor.minutes);
  const longWrite = toRate(given.cache_write_1h ?? given.input * factor.hour);
  const base: Rates = {
    input: toRate(given.input),
    cachedInput: toRate(given.cached_input ?? given.input),
    cacheWrite: write,
    output: toRate(given.output),
    reasoning: toRate(given.reasoning ?? given.output),
  };
  return {
    table: { base, tiers: [] },
    hourTable: { base: { ...base, cacheWrite: longWrite > write ? longWrite : write }, tiers: [] },
    outputTokensMax: given.output_tokens_max ?? null,
  };
}
