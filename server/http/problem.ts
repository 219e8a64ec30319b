import { Fault, type FaultCode, type FaultDetails } from '../../tenant-schema/fault.ts';
import { rateLimitHeaders } from '../endpoints/rate-limit.ts';

/** Which status a code answers with, and its heading. A code that is missing here does not compile. */
export const PROBLEMS: Record<FaultCode, { status: number; title: string }> = {
  invalid_json: { status: 400, title: 'The body is not JSON' },
  unauthorized: { status: 401, title: 'No valid credentials' },
  budget_exceeded: { status: 402, title: 'The budget is used up' },
  tenant_suspended: { status: 403, title: 'The tenant is suspended' },
  insufficient_scope: { status: 403, title: 'The key does not allow this' },
  csrf_failed: { status: 403, title: 'The request does not come from the console' },
  provider_not_allowed: { status: 403, title: 'The provider is not allowed' },
  not_found: { status: 404, title: 'Not found' },
  route_not_found: { status: 404, title: 'No such route' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  conversation_busy: { status: 409, title: 'The conversation is busy' },
  tool_results_pending: { status: 409, title: 'Tool results are pending' },
  idempotency_conflict: { status: 409, title: 'The idempotency key was used for another request' },
  idempotency_in_progress: { status: 409, title: 'The first request is still running' },
  already_exists: { status: 409, title: 'It exists already' },
  range_not_satisfiable: { status: 416, title: 'The file does not have that range' },
  validation_failed: { status: 422, title: 'The request is not valid' },
  history_too_long: { status: 422, title: 'The conversation is too long' },
  invalid_database: { status: 422, title: 'The database is not valid' },
  rate_limited: { status: 429, title: 'Too many requests' },
  concurrency_limited: { status: 429, title: 'Too many requests at once' },
  client_closed_request: { status: 499, title: 'The client closed the request' },
  upstream_rejected: { status: 502, title: 'The provider rejected the request' },
  upstream_unavailable: { status: 502, title: 'The provider is unavailable' },
  upstream_invalid: { status: 502, title: "The provider's answer is not valid" },
  provider_not_configured: { status: 503, title: 'The provider is not configured' },
  pricing_unavailable: { status: 503, title: 'No price is known' },
  upstream_rate_limited: { status: 503, title: 'The provider limits the rate' },
  overloaded: { status: 503, title: 'The server takes no requests now' },
  tenant_unavailable: { status: 503, title: "The tenant's data is unavailable" },
  upstream_timeout: { status: 504, title: 'The provider took too long' },
  storage_quota_exceeded: { status: 507, title: 'The storage is full' },
  internal_error: { status: 500, title: 'Internal error' },
};

/** What a client is told of an error that is not a `Fault`: nothing. */
const internal = (error: unknown): Fault =>
  new Fault('internal_error', 'The server failed; its log has the reason under this request id.', {
    cause: error,
  });

export const toFault = (error: unknown): Fault => (error instanceof Fault ? error : internal(error));

/** The body of an error answer (RFC 9457). */
export function problemOf(fault: Fault, requestId: string): Record<string, unknown> {
  const { status, title } = PROBLEMS[fault.code];
  const { errors, openCalls, limit } = fault.details;
  return {
    type: `urn:nimblesite:problem:${fault.code}`,
    title,
    status,
    detail: fault.message,
    code: fault.code,
    request_id: requestId,
    ...(errors && { errors }),
    ...(openCalls && { open_calls: openCalls }),
    ...(limit !== undefined && { limit }),
  };
}

/** The headers that belong to a fault beside its body. */
export function problemHeaders(code: FaultCode, details: FaultDetails): Record<string, string> {
  return {
    ...(code === 'unauthorized' && { 'WWW-Authenticate': 'Bearer realm="nimblesite"' }),
    ...(details.retryAfterSeconds !== undefined && { 'Retry-After': String(details.retryAfterSeconds) }),
    ...(details.standing && rateLimitHeaders(details.standing)),
    ...(details.sizeBytes !== undefined && { 'Content-Range': `bytes */${details.sizeBytes}` }),
    ...(details.allow && { Allow: details.allow.join(', ') }),
  };
}
