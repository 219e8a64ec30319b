import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { expect } from 'chai';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { allEvents, type Json, startTestServer } from '../../support/http.ts';
import { createGate, startUpstream } from '../../support/upstream.ts';

describe('a key that is revoked', () => {
  it('lets 50 turns in flight end, and not one more begin', async () => {
    const upstream = await startUpstream();
    const server = await startTestServer({
      env: { OPENAI_API_KEY: 'sk-test', OPENAI_BASE_URL: upstream.openaiUrl },
    });
    try {
      const hold = createGate();
      upstream.respond(() => ({ text: ['Hel', 'lo'], hold }));
      const tenant = await server.createTenant();
      const config = await server.createConfig(tenant.client, {
        model_config: { provider: 'openai', model: 'gpt-test' },
      });
      const { body } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, { name: 'site' });
      const site = server.tenant(String(body.api_key));
      const turns = Array.from({ length: 50 }, (_, index) =>
        index % 2 === 0
          ? site
              .chat(config, { message: 'Hello' })
              .then(({ status, body: answer }) => [status, answer.response])
          : site.stream(config, { message: 'Hello' }).then(async (stream) => {
              const last = (await allEvents(stream)).at(-1);
              return [stream.status, last?.data.response];
            }),
      );
      await upstream.received(50);
      expect(
        (await server.admin.delete(`/api/v1/admin/tenants/${tenant.id}/keys/${body.id}`)).status,
      ).to.equal(204);
      const refused = await Promise.all(
        Array.from({ length: 10 }, () => site.chat(config, { message: 'Once more' })),
      );
      expect(new Set(refused.map(({ status }) => status))).to.deep.equal(new Set([401]));
      hold.open();
      for (const end of await Promise.all(turns)) expect(end).to.deep.equal([200, 'Hello']);
      expect(upstream.requests).to.have.length(50);
      const logs = await tenant.client.get('/api/v1/logs?limit=100&status=ok');
      expect(logs.body.data).to.have.length(50);
    } finally {
      await server.stop();
      await upstream.close();
    }
  });

  it('cannot make itself another while its body is still on the way', async () => {
    let passedMs = 0;
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + passedMs };
    const server = await startTestServer({ clock });
    try {
      const tenant = await server.createTenant();
      const { body } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, { name: 'leaked' });
      const path = `/api/v1/admin/tenants/${tenant.id}/keys`;
      const input = JSON.stringify({ name: 'for ever' });
      const slow = httpRequest(`${server.url}/api/v1/keys`, {
        method: 'POST',
        headers: {
          'X-API-Key': String(body.api_key),
          'Content-Type': 'application/json',
          'Content-Length': input.length,
        },
      });
      slow.write(input.slice(0, 5));
      // The key has been looked at when it counts as used.
      const leaked = async () =>
        ((await server.admin.get(path)).body.data as Json[]).find((key) => key.name === 'leaked');
      while ((await leaked())?.last_used_at === null);
      await server.admin.delete(`${path}/${body.id}`);
      passedMs = 60_000;
      slow.end(input.slice(5));
      const [response] = await once(slow, 'response');
      response.resume();
      expect(response.statusCode).to.equal(401);
      expect((await server.admin.get(path)).body.data).to.have.length(2);
    } finally {
      await server.stop();
    }
  });
});
