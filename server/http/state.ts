import type { DefaultContext, Middleware, ParameterizedContext } from 'koa';
import type { Fault } from '../../tenant-schema/fault.ts';

/** What the middlewares tell each other about a request. */
export interface RequestState {
  requestId: string;
  /** The template of the route that matched. */
  route: string | null;
  tenantId: string | null;
  /** What the request failed with, in its status or in its stream's last event. */
  fault: Fault | null;
}

export type RequestContext = ParameterizedContext<RequestState>;
export type RequestMiddleware = Middleware<RequestState, DefaultContext>;
