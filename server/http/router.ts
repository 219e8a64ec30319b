import Router from '@koa/router';
import { Fault } from '../../tenant-schema/fault.ts';
import { type Endpoint, EventStream, FileReply, type Services, TextReply } from '../endpoints/endpoint.ts';
import { authenticate } from './authenticate.ts';
import { readJsonObject } from './body.ts';
import { incomingFile, sendFile } from './files.ts';
import { problemOf, toFault } from './problem.ts';
import { sendEvents } from './sse.ts';
import type { RequestContext, RequestMiddleware } from './state.ts';

export interface RouterOptions {
  services: Services;
  bodyBytesMax: number;
  importBytesMax: number;
  pingMs: number;
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
  const caller = await authenticate(ctx.req, endpoint, options.services.control, requestId);
  if (caller.auth === 'tenant') ctx.state.tenantId = caller.identity.tenant.id;
  const answer = await endpoint.call({
    params,
    query: new URLSearchParams(ctx.querystring),
    body:
      endpoint.body &&
      (await readJsonObject(ctx.req, ctx.res, {
        bytesMax: options.bodyBytesMax,
        mayBeEmpty: endpoint.bodyOptional,
      })),
    file: incomingFile(ctx.req, ctx.res, options.importBytesMax),
    requestId,
    caller,
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
    await sendFile(ctx, answer.options);
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
