import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import type { Services } from '../../../server/endpoints/endpoint.ts';
import { createApp } from '../../../server/http/app.ts';
import { createOperations, type OperationsParts } from '../../../server/operations/operations.ts';
import { createLog } from '../../../server/telemetry/log.ts';
import { createMetrics } from '../../../server/telemetry/metrics.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { createIds } from '../../../tenant-schema/ids.ts';
import { allEvents, request, startTestServer, type TestServer } from '../../support/http.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

/** Serves the app over rooms of which only the given parts exist. */
async function withBrokenRooms(
  rooms: { control?: object; engine?: object },
  work: (url: string, lines: string[]) => Promise<void>,
): Promise<void> {
  const lines: string[] = [];
  const none = { open: 0, leased: 0, openMax: 0, hits: 0, misses: 0, evictions: 0 };
  const parts = {
    ...rooms,
    ids: createIds(systemClock),
    clock: systemClock,
    log: createLog({ level: 'info', destination: { write: (line) => lines.push(line) } }),
  };
  const services = {
    ...parts,
    operations: createOperations({ ...parts, dataDir: '/nowhere' } as unknown as OperationsParts),
    metrics: createMetrics({ pool: () => none, tenants: () => ({}), diskFreeBytes: async () => 0 }),
    lifecycle: { state: 'ready' },
  } as unknown as Services;
  const options = {
    bodyBytesMax: 1024,
    importBytesMax: 1024,
    pingMs: 1000,
    corsOrigins: [],
    metricsPublic: false,
    consoleDir: '/nowhere',
  };
  const server = createServer(createApp({ services, ...options, overloaded: () => false }).callback());
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, lines);
  } finally {
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  }
}

describe('failures', () => {
  it('say nothing of an unexpected error to the client and everything but its fields to the log', async () => {
    const cause = Object.assign(new Error('INNER'), { code: 'E_INNER', request: { key: 'SECRET-FIELD' } });
    const control = {
      findByKey: () => {
        throw new Error('OUTER', { cause });
      },
    };
    await withBrokenRooms({ control }, async (url, lines) => {
      const headers = { 'X-API-Key': 'nbs_x' };
      const { status, body, text } = await request(`${url}/api/v1/me`, { headers });
      expect([status, body.code]).to.deep.equal([500, 'internal_error']);
      expect(text).not.to.include('OUTER').and.not.to.include('INNER');
      // The line is written when the answer has gone, which may be after its client has read it.
      await request(`${url}/healthz`);
      const failures = lines.filter((line) => line.includes('internal_error'));
      expect(failures).to.have.length(1);
      expect(JSON.parse(failures[0] ?? '')).to.nested.include({
        level: 'error',
        request_id: body.request_id,
        'err.message': 'OUTER',
        'err.cause.message': 'INNER',
        'err.cause.code': 'E_INNER',
      });
      expect(failures[0]).not.to.include('SECRET-FIELD');
    });
  });

  it('remove the file of a tenant that could not be entered in the control database', async () => {
    const made: string[] = [];
    const removed: string[] = [];
    const control = {
      findAdmin: async () => ({ id: 'a', name: 'admin', requestId: null, role: 'owner' }),
      addTenant: () => {
        throw new Error('no space');
      },
    };
    const engine = {
      create: async ({ id }: { id: string }) => made.push(id),
      destroy: async (id: string) => removed.push(id),
    };
    await withBrokenRooms({ control, engine }, async (url) => {
      const { status } = await request(`${url}/api/v1/admin/tenants`, {
        method: 'POST',
        headers: { Authorization: 'Bearer anything', 'Content-Type': 'application/json' },
        body: '{"name":"Acme"}',
      });
      expect(status).to.equal(500);
      expect(made).to.have.length(1);
      expect(removed).to.deep.equal(made);
    });
  });

  describe('of a server that is told to stop', () => {
    let upstream: Upstream;
    let server: TestServer;

    beforeEach(async () => {
      upstream = await startUpstream();
    });
    afterEach(async () => {
      await server.stop();
      await upstream.close();
    });

    const begin = async (env: Record<string, string>) => {
      server = await startTestServer({
        env: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: upstream.openaiUrl, ...env },
      });
      const { client } = await server.createTenant();
      const config = await server.createConfig(client, { model_config: { provider: 'openai', model: 'm' } });
      const gate = createGate();
      upstream.script({ text: ['a', 'b'], hold: gate });
      const stream = await client.stream(config, { message: 'Hi' });
      await upstream.received(1);
      return { stream, gate };
    };

    it('wait for a running turn, whose client gets its whole answer', async () => {
      const { stream, gate } = await begin({});
      const closed = server.close();
      gate.open();
      expect((await allEvents(stream)).at(-1)?.event).to.equal('done');
      await closed;
    });

    it('end a turn that takes too long with an error that its client still gets', async () => {
      const { stream } = await begin({ DRAIN_SECONDS: '0.05' });
      const [events] = await Promise.all([allEvents(stream), server.close()]);
      expect(events.at(-1)?.event).to.equal('error');
      expect(events.at(-1)?.data).to.include({ code: 'overloaded' });
    });
  });
});
