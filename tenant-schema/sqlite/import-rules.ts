import { isId } from '../ids.ts';
import { VALUE_BYTES_MAX } from '../json.ts';
import { isRefusedParameter, TOOL_NAME } from '../model-config.ts';

/** Says what is wrong with a value, or null. */
export type Rule = (value: unknown) => string | null;

const text: Rule = (value) => {
  if (typeof value !== 'string') return 'is not text';
  return value.includes('\0') ? 'is not valid text' : null;
};
const textUpTo =
  (charsMax: number): Rule =>
  (value) =>
    text(value) ?? (typeof value === 'string' && value.length <= charsMax ? null : 'is too long');
const short = textUpTo(1000);
const id: Rule = (value) => (typeof value === 'string' && isId(value) ? null : 'is not an id');
const upTo =
  (max: number, what: string): Rule =>
  (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max ? null : what;
/** So small that a sum over all rows that a file can hold does not overflow in SQLite. */
const count = upTo(1e12, 'is not a count');
/** A sum of such counts: no more of them than a file could ever hold. */
const sum = upTo(1e15, 'is not a sum');
/** A place in a numbering that begins at 1. */
const ordinal: Rule = (value) => count(value) ?? (value === 0 ? 'does not count from 1' : null);
/** Epoch milliseconds up to the year 9999, the last that can be written as a date. */
const time = upTo(253_402_300_799_999, 'is not a time');
const flag: Rule = (value) => (value === 0 || value === 1 ? null : 'is not 0 or 1');
const nullable =
  (rule: Rule): Rule =>
  (value) =>
    value === null ? null : rule(value);
const oneOf =
  (...values: string[]): Rule =>
  (value) =>
    typeof value === 'string' && values.includes(value) ? null : `is not one of ${values.join(', ')}`;

const matching =
  (pattern: RegExp, what: string): Rule =>
  (value) =>
    typeof value === 'string' && pattern.test(value) ? null : what;
const month = matching(/^\d{4}-(0[1-9]|1[0-2])$/, 'is not a month');
const day = matching(/^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, 'is not a day');
const sha256 = matching(/^[0-9a-f]{64}$/, 'is not a SHA-256');

const parse = (value: unknown): unknown => {
  try {
    const parsed: unknown = JSON.parse(String(value));
    // Parsing takes any depth; what cannot be written again would fail whoever answers with it.
    JSON.stringify(parsed);
    return parsed;
  } catch {
    return undefined;
  }
};
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
/** So long may be what stands in every row of a list: far beyond what a client can store, and still easy to answer. */
const SETTING_CHARS_MAX = 4 * 1024 * 1024;

const json =
  (fits: (parsed: unknown) => boolean, charsMax = VALUE_BYTES_MAX): Rule =>
  (value) => {
    if (typeof value === 'string' && value.length > charsMax) return 'is too long';
    return text(value) ?? (fits(parse(value)) ? null : 'is not the JSON that belongs there');
  };

const object = json(isObject, SETTING_CHARS_MAX);
const isName = (value: unknown): value is string =>
  typeof value === 'string' && value.trim() !== '' && value.length <= 1000;
// What would change who is asked, or what, is refused here as it is over HTTP: it is sent on as it stands.
const modelConfig = json(
  (value) =>
    isObject(value) &&
    isName(value.provider) &&
    isName(value.model) &&
    !Object.keys(value).some(isRefusedParameter),
  SETTING_CHARS_MAX,
);
const toolName = (tool: unknown): string | null => {
  if (typeof tool === 'string') return TOOL_NAME.test(tool) ? tool : null;
  if (!isObject(tool)) return null;
  const { name, description, parameters, ...others } = tool;
  const fits =
    typeof name === 'string' &&
    TOOL_NAME.test(name) &&
    (description === undefined || typeof description === 'string') &&
    (parameters === undefined || isObject(parameters)) &&
    Object.keys(others).length === 0;
  return fits ? name : null;
};
const tools = json((value) => {
  if (!Array.isArray(value)) return false;
  const names = value.map(toolName);
  return !names.includes(null) && new Set(names).size === names.length;
}, SETTING_CHARS_MAX);
const calls = json(
  (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(
      (call) =>
        isObject(call) &&
        typeof call.id === 'string' &&
        typeof call.name === 'string' &&
        isObject(call.arguments),
    ),
);
const providerData = json(
  (value) => isObject(value) && typeof value.provider === 'string' && 'data' in value,
);

/**
 * What each column of an imported file may hold. Tables in an order in which a referred row comes first; the file's
 * `tenant` and `migrations` are not copied: the new file has its own.
 */
export const IMPORT_RULES: Record<string, Record<string, Rule>> = {
  configs: { id, name: short, version: ordinal, created_at: time },
  config_versions: {
    config_id: id,
    version: ordinal,
    name: short,
    agent_type: oneOf('client-side'),
    system_prompt: textUpTo(SETTING_CHARS_MAX),
    model_config: modelConfig,
    tools_config: tools,
    metadata: object,
    created_at: time,
  },
  conversations: {
    id,
    config_id: id,
    title: nullable(short),
    user: nullable(short),
    metadata: object,
    message_count: count,
    history_bytes: count,
    awaiting_tools: flag,
    created_at: time,
    updated_at: time,
  },
  messages: {
    conversation_id: id,
    seq: ordinal,
    id,
    role: oneOf('user', 'assistant', 'tool'),
    content: nullable(text),
    tool_calls: nullable(calls),
    tool_call_id: nullable(text),
    tool_name: nullable(text),
    is_error: flag,
    status: oneOf('complete', 'incomplete'),
    provider_data: nullable(providerData),
    created_at: time,
  },
  open_turns: {
    id,
    run_id: short,
    request_id: short,
    config_id: id,
    config_version: count,
    conversation_id: id,
    user: nullable(short),
    provider: short,
    model: short,
    created_at: time,
    price_version: nullable(short),
  },
  turns: {
    id,
    request_id: short,
    config_id: id,
    config_version: count,
    conversation_id: id,
    user: nullable(short),
    provider: short,
    model: short,
    status: oneOf('ok', 'error', 'aborted'),
    error_code: nullable(short),
    latency_ms: count,
    first_token_ms: nullable(count),
    input_tokens: count,
    output_tokens: count,
    cached_input_tokens: count,
    reasoning_tokens: count,
    usage_estimated: flag,
    cost_micro_usd: nullable(count),
    created_at: time,
    cache_write_input_tokens: count,
    price_version: nullable(short),
  },
  turn_contents: { turn_id: id, input: text, output: text },
  usage_days: {
    day,
    config_id: id,
    model: short,
    turns: sum,
    errors: sum,
    input_tokens: sum,
    output_tokens: sum,
    cached_input_tokens: sum,
    cache_write_input_tokens: sum,
    reasoning_tokens: sum,
    cost_micro_usd: sum,
    unpriced_turns: sum,
  },
};

/** What is taken besides from a file that was the tenant's own; the rolling minute is over by then. */
export const OWN_RULES: Record<string, Record<string, Rule>> = {
  spend: { month, spent_micro_usd: sum, reserved_micro_usd: sum },
  idempotency: {
    key_hash: sha256,
    fingerprint: sha256,
    turn_id: id,
    answer: nullable(json(isObject)),
    created_at: time,
  },
};
