import type { LimitStanding } from './store.ts';

/**
 * Every code a caller may meet. Which HTTP status a code gets is said once, in `server/http/problem.ts`;
 * a code without a status does not compile there.
 */
export type FaultCode =
  | 'invalid_json'
  | 'unauthorized'
  | 'budget_exceeded'
  | 'tenant_suspended'
  | 'insufficient_scope'
  | 'csrf_failed'
  | 'provider_not_allowed'
  | 'not_found'
  | 'route_not_found'
  | 'method_not_allowed'
  | 'body_too_large'
  | 'unsupported_media_type'
  | 'conversation_busy'
  | 'tool_results_pending'
  | 'idempotency_conflict'
  | 'idempotency_in_progress'
  | 'already_exists'
  | 'validation_failed'
  | 'range_not_satisfiable'
  | 'history_too_long'
  | 'invalid_database'
  | 'rate_limited'
  | 'concurrency_limited'
  | 'client_closed_request'
  | 'upstream_rejected'
  | 'upstream_unavailable'
  | 'upstream_invalid'
  | 'provider_not_configured'
  | 'pricing_unavailable'
  | 'upstream_rate_limited'
  | 'overloaded'
  | 'tenant_unavailable'
  | 'upstream_timeout'
  | 'storage_quota_exceeded'
  | 'internal_error';

/** One fault in a caller's input: where it is (dotted, `tool_results.0.name`) and what is wrong with it. */
export interface InputError {
  path: string;
  message: string;
}

/** A tool call that waits for the client's result. */
export interface OpenCall {
  id: string;
  name: string;
  arguments: Record<string, unknown>;
}

/** What a caller is told beside the sentence; everything in here is public. */
export interface FaultDetails {
  /** Every fault of a bad input at once. */
  errors?: InputError[];
  /** The calls a client must answer before it may go on. */
  openCalls?: OpenCall[];
  /** Whole seconds after which trying again makes sense; becomes `Retry-After`. */
  retryAfterSeconds?: number;
  /** The limit that was hit, as it is named in a tenant's `limits`. */
  limit?: string;
  /** How the rolling limits stand; becomes the `RateLimit-*` headers. */
  standing?: LimitStanding;
  /** The methods a path has; becomes `Allow`. */
  allow?: string[];
  /** How long the file is that has not the range asked for; becomes `Content-Range`. */
  sizeBytes?: number;
}

/**
 * The one error that rooms throw at each other. `message` is public and is sent to the caller; `cause` is
 * private, is written to the log where the request ends, and is never sent.
 */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly details: FaultDetails;

  constructor(
    code: FaultCode,
    publicMessage: string,
    options: { details?: FaultDetails; cause?: unknown } = {},
  ) {
    super(publicMessage, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'Fault';
    this.code = code;
    this.details = options.details ?? {};
  }
}

/**
 * The answer for what does not exist, belongs to somebody else, or has a malformed id: always this one
 * sentence, so that the three cannot be told apart.
 */
export const notFound = (): Fault => new Fault('not_found', 'There is no such resource.');

/** The answer to credentials that open nothing, whatever the cause: always this one sentence. */
export const unauthorized = (): Fault =>
  new Fault('unauthorized', 'The credentials are missing, unknown or no longer valid.');

/** A 422 for input that is well formed but cannot be accepted. */
export const invalid = (errors: InputError[]): Fault =>
  new Fault('validation_failed', 'The request is not valid; "errors" lists every fault.', {
    details: { errors },
  });
