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

  /** What a key gets that is revoked while the body of its request is on the way, and comes so much later. */
  async function lateAnswer(target: 'keys' | 'chat', input: string, lateMs: number) {
    let passedMs = 0;
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + passedMs };
    const server = await startTestServer({ clock });
    try {
      const tenant = await server.createTenant();
      const config = await server.createConfig(tenant.client);
      const { body } = await server.admin.post(`/api/v1/admin/tenants/${tenant.id}/keys`, { name: 'leaked' });
      const path = `/api/v1/admin/tenants/${tenant.id}/keys`;
      const slow = httpRequest(`${server.url}/api/v1/${target === 'chat' ? `chat/${config}` : target}`, {
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
      passedMs = lateMs;
      slow.end(input.slice(5));
      const [response] = await once(slow, 'response');
      response.resume();
      const keys = (await server.admin.get(path)).body.data as Json[];
      return { status: Number(response.statusCode), keys: keys.length };
    } finally {
      await server.stop();
    }
  }

  it('cannot make itself another while its body is on the way, however short that is', async () => {
    const input = JSON.stringify({ name: 'for ever' });
    expect(await lateAnswer('keys', input, 0)).to.deep.equal({ status: 401, keys: 2 });
  });

  it('begins no turn whose body was long on the way', async () => {
    const input = JSON.stringify({ message: 'Hello' });
    expect(await lateAnswer('chat', input, 60_000)).to.deep.equal({ status: 401, keys: 2 });
  });
});
