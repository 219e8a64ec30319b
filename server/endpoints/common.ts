import { z } from 'zod';
import { type Clock, toTimestamp } from '../../tenant-schema/clock.ts';
import { invalid } from '../../tenant-schema/fault.ts';
import { METADATA_BYTES_MAX } from '../../tenant-schema/json.ts';
import type { Listing, Page, TokenUsage } from '../../tenant-schema/store.ts';
import { PROVIDER_NAMES } from '../providers/catalogue.ts';

// ── what comes in ──────────────────────────────────────────────────────────────────────────────────────

/**
 * Text of `min` to `max` characters: code points, as JSON Schema counts them, where `z.string().max` would count an
 * emoji twice.
 */
export const textOf = (min: number, max: number) =>
  z
    .string()
    .min(min)
    .refine(
      (text) => text.length <= max || (text.length <= 2 * max && [...text].length <= max),
      `must be at most ${max} characters`,
    )
    .meta({ maxLength: max });

export const nameInput = textOf(1, 200).refine(
  (text) => text === '' || text.trim() !== '',
  'must not be blank',
);

export const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

export const metadataInput = z
  .record(z.string(), z.unknown())
  .refine(
    (value) => bytesOf(value) <= METADATA_BYTES_MAX,
    `must be at most ${METADATA_BYTES_MAX} bytes of JSON`,
  );

export const providerName = z.enum(PROVIDER_NAMES);

/** An RFC 3339 date-time with any offset, or a date, as epoch milliseconds. */
export const timeInput = z
  .string()
  // An unescaped `+` in a query arrives as a blank; nothing else that is valid has one there.
  .transform((text) => text.replace(/ (\d\d:\d\d)$/, '+$1').toUpperCase())
  .pipe(
    z.union([z.iso.datetime({ offset: true }), z.iso.date()], {
      error: 'must be a date (2026-01-31) or an RFC 3339 date-time (2026-01-31T12:00:00Z)',
    }),
  )
  .transform((text) => Date.parse(text));

export const idFilter = z.uuidv7({ error: 'must be an id' }).optional();
export const userInput = textOf(1, 200);

const limitInput = (fallback: number) =>
  z
    .string()
    .meta({ type: 'integer', minimum: 1, maximum: 100, default: fallback })
    .transform((text, context) => {
      const limit = /^[1-9]\d{0,2}$/.test(text) ? Number(text) : 0;
      if (limit >= 1 && limit <= 100) return limit;
      context.addIssue({ code: 'custom', message: 'must be a whole number from 1 to 100' });
      return z.NEVER;
    })
    .optional()
    .transform((limit) => limit ?? fallback);

/** The query of every list, to be spread into a strict object beside the list's own filters. */
export const pageQuery = (limitDefault = 20) => ({
  limit: limitInput(limitDefault),
  cursor: z.string().min(1).max(1000).optional(),
});

export const pageOf = (query: { limit: number; cursor?: string | undefined }): Page => ({
  limit: query.limit,
  cursor: query.cursor ?? null,
});

/** @throws `validation_failed` for an expiry that has passed already. */
export function checkExpiry(expiresAt: number | null | undefined, clock: Clock): void {
  if (expiresAt != null && expiresAt <= clock.now()) {
    throw invalid([{ path: 'expires_at', message: 'must lie in the future' }]);
  }
}

// ── what goes out ──────────────────────────────────────────────────────────────────────────────────────

export const id = z.uuidv7();
export const timestamp = z.iso.datetime({ precision: 3 });
/** A time that may not have come yet. */
export const optionalTime = (epochMs: number | null): string | null =>
  epochMs === null ? null : toTimestamp(epochMs);

export const jsonObject = z.record(z.string(), z.unknown());
export const costUsd = z.number().nonnegative().nullable();

export const listOf = <T extends z.ZodType>(row: T) =>
  z.strictObject({ data: z.array(row), next_cursor: z.string().nullable() });

export const toList = <Row, Out>(listing: Listing<Row>, toJson: (row: Row) => Out) => ({
  data: listing.data.map(toJson),
  next_cursor: listing.nextCursor,
});

export const toUsd = (microUsd: number | null): number | null => (microUsd === null ? null : microUsd / 1e6);

export const usage = z.strictObject({
  input_tokens: z.number().int().nonnegative(),
  output_tokens: z.number().int().nonnegative(),
  cached_input_tokens: z.number().int().nonnegative(),
  reasoning_tokens: z.number().int().nonnegative(),
  /** Present where the figures were guessed from bytes. */
  estimated: z.literal(true).optional(),
});

export const usageJson = (tokens: TokenUsage, estimated = false) => ({
  input_tokens: tokens.inputTokens,
  output_tokens: tokens.outputTokens,
  cached_input_tokens: tokens.cachedInputTokens,
  reasoning_tokens: tokens.reasoningTokens,
  ...(estimated && { estimated: true as const }),
});

export const toolCall = z.strictObject({ id: z.string(), name: z.string(), arguments: jsonObject });

/** What every error answers, beside an HTTP status (RFC 9457). */
export const problem = z.strictObject({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.string(),
  request_id: z.string(),
  errors: z.array(z.strictObject({ path: z.string(), message: z.string() })).optional(),
  open_calls: z.array(toolCall).optional(),
  /** The limit that was hit, as it is named in a tenant's `limits`. */
  limit: z.string().optional(),
});
