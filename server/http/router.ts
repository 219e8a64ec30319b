import Router from '@koa/router';
import { Fault } from '../../tenant-schema/fault.ts';
import { type Endpoint, EventStream, FileReply, type Services, TextReply } from '../endpoints/endpoint.ts';
import { IDEMPOTENCY_HEADER } from '../endpoints/idempotency.ts';
import { authenticate } from './authenticate.ts';
import { readJsonObject } from './body.ts';
import { browserOf } from './browser.ts';
import { incomingFile, sendFile } from './files.ts';
import type { Pace } from './pace.ts';
import { problemOf, toFault } from './problem.ts';
import { sendEvents } from './sse.ts';
import type { RequestContext, RequestMiddleware } from './state.ts';

export interface RouterOptions {
  services: Services;
  bodyBytesMax: number;
  importBytesMax: number;
  pingMs: number;
  /** Of all files that are sent, together. */
  filePace: Pace;
}

/** A route that is not an endpoint of the API, such as a page. */
export interface PlainRoute {
  path: string;
  handle(ctx: RequestContext, params: Record<string, string>): Promise<void> | void;
}

/** Aborted when the response is closed before it was sent to its end. */
function clientGoneSignal(ctx: RequestContext): AbortSignal {
  const gone = new AbortController();
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) gone.abort(new Fault('client_closed_request', 'The client went away.'));
  });
  return gone.signal;
}

/** A header as it was sent: an empty one is not the same as none. */
const headerOf = (ctx: RequestContext, name: string): string | undefined => {
  const value = ctx.req.headers[name.toLowerCase()];
  return Array.isArray(value) ? value.join(', ') : value;
};

/** Who takes longer to send a body than this may have been shut out meanwhile, and begins no turn any more. */
const SLOW_BODY_MS = 1000;

/** Authenticate, read the body, validate, handle, answer: the way of every call to an endpoint. */
async function serve(
  endpoint: Endpoint,
  options: RouterOptions,
  ctx: RequestContext,
  params: Record<string, string>,
): Promise<void> {
  if (ctx.method === 'HEAD' && endpoint.givesFile === 'whole') {
    // The router takes HEAD wherever it takes GET; here that would make a whole copy to send nothing of it.
    throw new Fault('method_not_allowed', 'This route does not have that method.', {
      details: { allow: ['GET', 'OPTIONS'] },
    });
  }
  const { requestId } = ctx.state;
  const clientGone = clientGoneSignal(ctx);
  const { clock, control } = options.services;
  const startedAt = clock.monotonic();
  let caller = await authenticate(ctx.req, endpoint, control, requestId);
  if (caller.auth === 'tenant') ctx.state.tenantId = caller.identity.tenant.id;
  const body =
    endpoint.body &&
    (await readJsonObject(ctx.req, ctx.res, {
      bytesMax: options.bodyBytesMax,
      mayBeEmpty: endpoint.bodyOptional,
    }));
  // Whatever is not a turn: a key that was revoked while its body came must not make itself another.
  const isTurn = endpoint.scope === 'chat';
  if (endpoint.body && (!isTurn || clock.monotonic() - startedAt > SLOW_BODY_MS)) {
    caller = await authenticate(ctx.req, endpoint, control, requestId);
  }
  const answer = await endpoint.call({
    params,
    query: ctx.querystring,
    body,
    file: incomingFile(ctx.req, ctx.res, options.importBytesMax),
    requestId,
    idempotencyKey: headerOf(ctx, IDEMPOTENCY_HEADER),
    setHeaders: (headers) => ctx.set(headers),
    caller,
    browser: browserOf(ctx.req),
    services: options.services,
    clientGone,
  });

  if (answer instanceof EventStream) {
    ctx.respond = false;
    await sendEvents(ctx.res, answer, {
      pingMs: options.pingMs,
      problem(error) {
        ctx.state.fault = toFault(error);
        return problemOf(ctx.state.fault, requestId);
      },
    });
  } else if (answer instanceof FileReply) {
    await sendFile(ctx, answer.options, options.filePace);
  } else if (answer instanceof TextReply) {
    ctx.body = answer.text;
    ctx.set('Content-Type', answer.contentType);
  } else if (endpoint.response === null) {
    ctx.status = endpoint.status;
  } else {
    ctx.status = endpoint.status;
    ctx.body = JSON.stringify(answer);
    ctx.type = 'application/json';
  }
}

/** Binds endpoints and pages to their paths; says 404 and 405 for everything else. */
export function createRoutes(
  endpoints: readonly Endpoint[],
  pages: readonly PlainRoute[],
  options: RouterOptions,
): RequestMiddleware[] {
  const router = new Router({ sensitive: true });
  const bind = (path: string, method: string, handle: PlainRoute['handle']) =>
    router.register(path, [method], (ctx) => {
      ctx.state.route = path;
      return handle(ctx as RequestContext, ctx.params);
    });
  for (const endpoint of endpoints) {
    bind(endpoint.path, endpoint.method, (ctx, params) => serve(endpoint, options, ctx, params));
  }
  for (const page of pages) bind(page.path, 'GET', page.handle);

  const unmatched: RequestMiddleware = (ctx) => {
    const layers = router.match(ctx.path, ctx.method).path;
    if (layers.length === 0) throw new Fault('route_not_found', 'There is no such route.');
    const allow = [...new Set(layers.flatMap((layer) => layer.methods)), 'OPTIONS'].sort();
    if (ctx.method !== 'OPTIONS') {
      throw new Fault('method_not_allowed', 'This route does not have that method.', { details: { allow } });
    }
    ctx.set('Allow', allow.join(', '));
    ctx.status = 204;
  };
  return [router.routes() as RequestMiddleware, unmatched];
}
