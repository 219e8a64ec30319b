import type { components } from './schema.gen.ts';

type Problem = components['schemas']['Problem'];

/** A call that did not succeed, as the server (RFC 9457) or the lack of one tells it. */
export class ApiError extends Error {
  /** 0 where no answer came at all. */
  readonly status: number;
  readonly code: string;
  readonly title: string;
  /** Null where the server never saw the request. */
  readonly requestId: string | null;
  readonly errors: NonNullable<Problem['errors']>;
  readonly openCalls: NonNullable<Problem['open_calls']>;

  constructor(problem: Partial<Problem> & { status: number; code: string; title: string }) {
    super(problem.detail ?? problem.title);
    this.name = 'ApiError';
    this.status = problem.status;
    this.code = problem.code;
    this.title = problem.title;
    this.requestId = problem.request_id ?? null;
    this.errors = problem.errors ?? [];
    this.openCalls = problem.open_calls ?? [];
  }
}

/** The error in an answer that is none of success. */
export async function errorOf(response: Response): Promise<ApiError> {
  const body: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  const problem = isProblem(body) ? body : null;
  const requestId = problem?.request_id ?? response.headers.get('x-request-id');
  return new ApiError({
    code: `http_${response.status}`,
    title: `The server answered with status ${response.status}`,
    ...problem,
    status: response.status,
    ...(requestId !== null && { request_id: requestId }),
  });
}

const isProblem = (body: unknown): body is Problem =>
  typeof body === 'object' && body !== null && 'code' in body && 'title' in body;

/** What a call without any answer ends in. */
export const unreachable = (): ApiError =>
  new ApiError({
    status: 0,
    code: 'unreachable',
    title: 'The server cannot be reached',
    detail: 'Check that it runs and that you are connected, then try again.',
  });
