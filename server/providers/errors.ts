import {
  APIConnectionError as AnthropicConnectionError,
  APIError as AnthropicError,
  APIConnectionTimeoutError as AnthropicTimeoutError,
} from '@anthropic-ai/sdk';
import {
  APIConnectionError as OpenAiConnectionError,
  APIError as OpenAiError,
  APIConnectionTimeoutError as OpenAiTimeoutError,
} from 'openai';
import { Fault, type FaultCode } from '../../tenant-schema/fault.ts';
import { isObject } from './json.ts';
import { retryAfterMs } from './transport.ts';

/** Who is asked, and the key that must never show. */
export interface Endpoint {
  name: string;
  apiKey: string | null;
  /** Whether the key is the tenant's own, who may read then what the provider says about it. Default: false. */
  isOwnKey?: boolean;
}

/** What a caller is told where a provider that refuses for now does not say for how long. */
const RETRY_AFTER_SECONDS_DEFAULT = 5;
const RETRY_AFTER_SECONDS_MAX = 86_400;

/** Longer words of a provider are cut in the log. */
const WORDS_CHARACTERS_MAX = 4_000;
const CAUSE_DEPTH_MAX = 5;
/** Longer words of a provider are cut in an answer. */
const SHOWN_CHARACTERS_MAX = 500;

const TIMEOUT_CODES = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
]);

/**
 * The fault that an error of an SDK, or of the transport below it, means. Its message names the provider and
 * the status; its cause is a copy of the words alone, without the key, and holds on to nothing of the request.
 */
export function upstreamFault(error: unknown, endpoint: Endpoint): Fault {
  if (error instanceof Fault) return error;
  const fault = (code: FaultCode, what: string, details = {}): Fault =>
    new Fault(code, `The provider "${endpoint.name}" ${what}`, {
      details,
      cause: wordsOf(error, endpoint.apiKey),
    });

  if (error instanceof OpenAiTimeoutError || error instanceof AnthropicTimeoutError || timedOut(error)) {
    return fault('upstream_timeout', 'did not answer in time.');
  }
  if (error instanceof OpenAiConnectionError || error instanceof AnthropicConnectionError) {
    return chainOf(error).some(({ name }) => name === 'HTTPParserError')
      ? fault('upstream_invalid', 'sent an answer that is not HTTP.')
      : fault('upstream_unavailable', 'could not be reached.');
  }
  if (error instanceof OpenAiError || error instanceof AnthropicError) {
    const headers: unknown = error.headers;
    const code = codeOfStatus(error.status) ?? codeOfEvent(error);
    const what =
      error.status === undefined
        ? 'reported an error within its answer.'
        : `answered with status ${error.status}.`;
    const words = endpoint.isOwnKey ? shownWords(error.error, endpoint.apiKey) : '';
    return fault(
      code,
      words === '' ? what : `${what.slice(0, -1)}: ${words}`,
      code === 'upstream_rate_limited' ? { retryAfterSeconds: retryAfterSeconds(headers) } : {},
    );
  }
  return fault('upstream_invalid', 'sent a broken or unfinished answer.');
}

/** A fault for an answer that came whole by HTTP's measure but makes no sense; `why` is for the log. */
export const invalidAnswer = (endpoint: Endpoint, why: string): Fault =>
  upstreamFault(new Error(why), endpoint);

/** A fault for an answer whose last word is that its provider failed; `why` is for the log. */
export const failedAnswer = (endpoint: Endpoint, why: string): Fault =>
  new Fault('upstream_unavailable', `The provider "${endpoint.name}" reported an error within its answer.`, {
    cause: wordsOf(new Error(why), endpoint.apiKey),
  });

function codeOfStatus(status: number | undefined): FaultCode | undefined {
  if (status === undefined) return undefined;
  if (status === 429) return 'upstream_rate_limited';
  if (status >= 500) return 'upstream_unavailable';
  return status >= 400 ? 'upstream_rejected' : 'upstream_invalid';
}

/** An error within a stream has no status: its type says what it is, or a status in place of a code. */
function codeOfEvent(error: OpenAiError | AnthropicError): FaultCode {
  const status = 'code' in error ? Number(error.code ?? Number.NaN) : Number.NaN;
  if (status >= 400 && status < 600) return codeOfStatus(status) ?? 'upstream_rejected';
  const type = `${error.type ?? ''} ${'code' in error ? (error.code ?? '') : ''}`;
  if (/rate_?limit/.test(type)) return 'upstream_rate_limited';
  return /overloaded|api_error|server_error|unavailable|timeout/.test(type)
    ? 'upstream_unavailable'
    : 'upstream_rejected';
}

function retryAfterSeconds(headers: unknown): number {
  const ms = headers instanceof Headers ? retryAfterMs(headers) : null;
  if (ms === null) return RETRY_AFTER_SECONDS_DEFAULT;
  return Math.min(Math.max(Math.ceil(ms / 1000), 1), RETRY_AFTER_SECONDS_MAX);
}

/** An error and its causes. */
function chainOf(error: unknown): Error[] {
  const chain: Error[] = [];
  for (let at = error; at instanceof Error && chain.length < CAUSE_DEPTH_MAX; at = at.cause) chain.push(at);
  return chain;
}

const timedOut = (error: unknown): boolean =>
  chainOf(error).some((at) => 'code' in at && typeof at.code === 'string' && TIMEOUT_CODES.has(at.code));

const withoutKey = (text: string, apiKey: string | null): string =>
  apiKey ? text.replaceAll(apiKey, '[redacted]').replaceAll(encodeURIComponent(apiKey), '[redacted]') : text;

/** The sentence in the body of an error, fit to be shown: in one line, well formed, not too long, without the key. */
function shownWords(body: unknown, apiKey: string | null): string {
  const inner = isObject(body) && isObject(body.error) ? body.error : body;
  const text = isObject(inner) ? inner.message : inner;
  if (typeof text !== 'string') return '';
  const line = withoutKey(text.toWellFormed(), apiKey)
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim();
  const characters = [...line];
  return characters.length <= SHOWN_CHARACTERS_MAX
    ? line
    : `${characters.slice(0, SHOWN_CHARACTERS_MAX).join('')}…`;
}

/** A plain copy of an error and its causes: name, message, code and stack, the key cut out of each. */
function wordsOf(error: unknown, apiKey: string | null, depth = 0): Error {
  const hide = (text: string): string => withoutKey(text, apiKey);
  if (!(error instanceof Error)) return new Error(hide(String(error)).slice(0, WORDS_CHARACTERS_MAX));
  const copy = new Error(hide(error.message).slice(0, WORDS_CHARACTERS_MAX));
  copy.name = error.constructor.name;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^ {4}at /.test(line));
  copy.stack = hide([`${copy.name}: ${copy.message}`, ...frames].join('\n'));
  if ('code' in error && typeof error.code === 'string') Object.assign(copy, { code: hide(error.code) });
  if (error.cause !== undefined && depth < CAUSE_DEPTH_MAX)
    copy.cause = wordsOf(error.cause, apiKey, depth + 1);
  return copy;
}
