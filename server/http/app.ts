import Koa from 'koa';
import type { Services } from '../endpoints/endpoint.ts';
import { allEndpoints, namedSchemas } from '../endpoints/index.ts';
import { consoleRoutes } from './console.ts';
import { docsRoutes } from './docs.ts';
import {
  accessLog,
  crossOrigin,
  errorBoundary,
  loadShedding,
  requestId,
  securityHeaders,
} from './middlewares.ts';
import { openApiDocument } from './openapi.ts';
import { createPace, FILE_BYTES_PER_SECOND, type Pace } from './pace.ts';
import { createRoutes } from './router.ts';
import type { RequestMiddleware, RequestState } from './state.ts';

export interface AppOptions {
  services: Services;
  bodyBytesMax: number;
  importBytesMax: number;
  pingMs: number;
  /** Default: `FILE_BYTES_PER_SECOND`. */
  filePace?: Pace;
  corsOrigins: readonly string[];
  metricsPublic: boolean;
  consoleDir: string;
  /** Whether new work should be refused now. */
  overloaded(): boolean;
}

/** The application: everything that happens to a request, in this order. */
export function createApp(options: AppOptions): Koa<RequestState> {
  const { services } = options;
  const endpoints = allEndpoints(options);
  const openApi = JSON.stringify(openApiDocument(endpoints, namedSchemas));

  const middlewares: RequestMiddleware[] = [
    requestId(services.ids),
    accessLog(services.log, services.metrics, services.clock),
    errorBoundary(),
    securityHeaders(),
    ...(options.corsOrigins.length > 0 ? [crossOrigin(options.corsOrigins)] : []),
    loadShedding(services.lifecycle, options.overloaded),
    ...createRoutes(endpoints, [...docsRoutes(openApi), ...consoleRoutes(options.consoleDir)], {
      ...options,
      filePace: options.filePace ?? createPace(FILE_BYTES_PER_SECOND, services.clock),
    }),
  ];

  const app = new Koa<RequestState>();
  for (const middleware of middlewares) app.use(middleware);
  // Only a connection's own errors get here; the request's line in the log says what became of it.
  app.on('error', (error: unknown) => services.log.debug({ err: error }, 'connection error'));
  return app;
}
