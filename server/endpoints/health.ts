import { z } from 'zod';
import { Fault } from '../../tenant-schema/fault.ts';
import { adminEndpoint, type Endpoint, publicEndpoint, type Services, TextReply } from './endpoint.ts';

const health = z.strictObject({ status: z.literal('ok') });

export const healthSchemas = { Health: health };

const metrics = {
  name: 'getMetrics',
  group: 'Server',
  method: 'GET',
  path: '/metrics',
  summary: "The server's figures in Prometheus' text format",
} as const;

const renderMetrics = async ({ services }: { services: Services }): Promise<TextReply> => {
  const { contentType, text } = await services.metrics.render();
  return new TextReply(contentType, text);
};

/** What a load balancer asks. */
export const probeEndpoints: readonly Endpoint[] = [
  publicEndpoint(
    {
      name: 'getHealth',
      group: 'Server',
      method: 'GET',
      path: '/healthz',
      summary: 'Whether the process is alive',
      response: health,
    },
    () => ({ status: 'ok' as const }),
  ),
  publicEndpoint(
    {
      name: 'getReadiness',
      group: 'Server',
      method: 'GET',
      path: '/readyz',
      summary: 'Whether the server takes requests: not while it starts or drains',
      response: health,
      faults: ['overloaded'],
    },
    ({ services: { lifecycle } }) => {
      if (lifecycle.state !== 'ready') throw new Fault('overloaded', `The server is ${lifecycle.state}.`);
      return { status: 'ok' as const };
    },
  ),
];

/** What watches the server; answered even where other calls are shed. */
export const healthEndpoints = (options: { metricsPublic: boolean }): Endpoint[] => [
  ...probeEndpoints,
  options.metricsPublic ? publicEndpoint(metrics, renderMetrics) : adminEndpoint(metrics, renderMetrics),
];
