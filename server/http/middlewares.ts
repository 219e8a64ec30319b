import cors from '@koa/cors';
import helmet from 'koa-helmet';
import type { Clock } from '../../tenant-schema/clock.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import type { Lifecycle } from '../endpoints/endpoint.ts';
import { RATE_LIMIT_HEADERS } from '../endpoints/rate-limit.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { PROBLEMS, problemHeaders, problemOf, toFault } from './problem.ts';
import { requestIdOf } from './request-id.ts';
import type { RequestContext, RequestMiddleware } from './state.ts';

/** Keeps the client's `X-Request-Id` where it is a sane one, else makes one; every answer carries it. */
export const requestId =
  (ids: IdMaker): RequestMiddleware =>
  (ctx, next) => {
    ctx.state = {
      requestId: requestIdOf(ctx.req, ids),
      route: null,
      tenantId: null,
      fault: null,
    };
    ctx.set('X-Request-Id', ctx.state.requestId);
    return next();
  };

/** One log line and one metrics sample for every request, when its last byte has gone or its client has. */
export const accessLog =
  (log: Log, metrics: Metrics, clock: Clock): RequestMiddleware =>
  (ctx, next) => {
    const startedMs = clock.monotonic();
    ctx.res.once('close', () => {
      const { fault, requestId, route, tenantId } = ctx.state;
      // The status of an answer that nobody waited for is said in the log only.
      const status = ctx.res.writableFinished ? ctx.res.statusCode : 499;
      const durationMs = clock.monotonic() - startedMs;
      // Methods are bounded by node's parser, routes by our own list.
      metrics.request({ method: ctx.method, route: route ?? 'none', status, durationMs });
      const fields = {
        method: ctx.method,
        route,
        status,
        ms: Math.round(durationMs * 10) / 10,
        request_id: requestId,
        ...(tenantId !== null && { tenant_id: tenantId }),
        ...(fault && { code: fault.code, detail: fault.message }),
        ...(fault?.cause !== undefined && { err: fault.cause }),
      };
      if (fault?.code === 'internal_error') log.error(fields, 'request failed');
      else if (fault?.cause !== undefined && status !== 499) log.warn(fields, 'request failed');
      else log.info(fields, 'request');
    });
    return next();
  };

/** Turns whatever is thrown further down into a problem answer. */
export const errorBoundary = (): RequestMiddleware => async (ctx, next) => {
  try {
    await next();
  } catch (error) {
    const fault = toFault(error);
    ctx.state.fault = fault;
    const problem = problemOf(fault, ctx.state.requestId);
    ctx.set(problemHeaders(fault.code, fault.details));
    // Koa refuses 499, which is for the log: nobody is there to read it.
    ctx.status = fault.code === 'client_closed_request' ? 400 : PROBLEMS[fault.code].status;
    ctx.body = JSON.stringify(problem);
    ctx.type = 'application/problem+json';
  }
};

/**
 * Headers that keep browsers from doing more with an answer than was meant. HSTS is the TLS proxy's to say. They are the
 * same for every answer, and helmet is asked for them once.
 */
export const securityHeaders = (): RequestMiddleware => {
  const headers: [string, string][] = [['Cache-Control', 'no-store']];
  const protect = helmet({
    strictTransportSecurity: false,
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
  });
  const setHeader = (name: string, value: string) => headers.push([name, value]);
  const answer = { req: {}, res: { setHeader, removeHeader() {} } };
  void protect(answer as unknown as RequestContext, async () => {});
  return (ctx, next) => {
    for (const [name, value] of headers) ctx.res.setHeader(name, value);
    return next();
  };
};

/** Lets pages of these origins call the API. Keys are sent as headers, so cookies stay off. */
export const crossOrigin = (origins: readonly string[]): RequestMiddleware =>
  cors({
    origin: (ctx) => (origins.includes(ctx.get('Origin')) ? ctx.get('Origin') : ''),
    credentials: false,
    allowMethods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowHeaders: ['Authorization', 'Content-Type', 'Idempotency-Key', 'X-API-Key', 'X-Request-Id'],
    exposeHeaders: [
      ...[
        'Content-Disposition',
        'Content-Range',
        'ETag',
        'Idempotent-Replayed',
        'Retry-After',
        'X-Request-Id',
      ],
      ...RATE_LIMIT_HEADERS,
    ],
    maxAge: 600,
  });

const UNSHED = new Set(['/healthz', '/readyz', '/metrics']);

/** Refuses new work while the event loop is late or the server drains; what watches the server is answered. */
export const loadShedding =
  (lifecycle: Lifecycle, overloaded: () => boolean): RequestMiddleware =>
  (ctx, next) => {
    if (!UNSHED.has(ctx.path)) {
      const details = { retryAfterSeconds: 1 };
      if (lifecycle.state !== 'ready') {
        throw new Fault('overloaded', `The server is ${lifecycle.state}.`, { details });
      }
      if (overloaded()) throw new Fault('overloaded', 'The server is overloaded.', { details });
    }
    return next();
  };
