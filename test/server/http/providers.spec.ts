import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Json, startTestServer, type TestServer, type TestTenant } from '../../support/http.ts';
import { startUpstream, type Upstream } from '../../support/upstream.ts';

const SERVER_KEY = 'sk-server-0123456789-canary';
const OWN_KEY = 'sk-own-9876543210-canary-wxyz';
const UNKNOWN = '018f0000-0000-7000-8000-000000000000';

describe("a tenant's own provider keys", () => {
  let upstream: Upstream;
  let server: TestServer;
  let acme: TestTenant;
  let configId: string;
  let env: Record<string, string>;

  before(async () => {
    upstream = await startUpstream();
    env = {
      OPENAI_API_KEY: SERVER_KEY,
      OPENAI_BASE_URL: upstream.openaiUrl,
      ANTHROPIC_BASE_URL: upstream.anthropicUrl,
    };
    server = await startTestServer({ env: { ...env, UPSTREAM_RETRIES: '0' } });
  });
  after(async () => {
    await server.stop();
    await upstream.close();
  });
  beforeEach(async () => {
    acme = await server.createTenant();
    configId = await server.createConfig(acme.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
  });

  const put = (name: string, apiKey: unknown) =>
    acme.client.put(`/api/v1/providers/${name}`, { api_key: apiKey });
  const sentKey = () => upstream.requests.at(-1)?.headers.authorization;

  for (const who of ['the tenant', 'the operator'] as const) {
    it(`are put, read, listed and removed by ${who}, and never shown`, async () => {
      const [client, path] =
        who === 'the tenant'
          ? [acme.client, '/api/v1/providers']
          : [server.admin, `/api/v1/admin/tenants/${acme.id}/providers`];
      expect((await client.get(`${path}/openai`)).body.code).to.equal('not_found');
      const made = await client.put(`${path}/openai`, { api_key: OWN_KEY });
      expect(made.status).to.equal(200);
      expect(made.body).to.include({ name: 'openai', last4: 'wxyz' });
      expect((await client.get(`${path}/openai`)).body).to.deep.equal(made.body);
      await client.put(`${path}/anthropic`, { api_key: 'short' });
      const listed = await client.get(path);
      expect(listed.body.next_cursor).to.equal(null);
      expect((listed.body.data as Json[]).map(({ name, last4 }) => [name, last4])).to.have.deep.members([
        ['openai', 'wxyz'],
        ['anthropic', ''],
      ]);
      expect((await client.get(`${path}?cursor=x`)).status).to.equal(422);
      expect(listed.text + made.text).not.to.include('canary');
      expect((await client.delete(`${path}/openai`)).status).to.equal(204);
      expect((await client.delete(`${path}/openai`)).status).to.equal(404);
      const audit = await server.admin.get(`/api/v1/admin/tenants/${acme.id}`);
      expect(audit.text).not.to.include('canary');
    });
  }

  it('are asked for by the name of a provider: any other is as missing as an unknown id', async () => {
    const missing = await acme.client.get(`/api/v1/configs/${UNKNOWN}`);
    const strip = ({ body: { request_id: _, ...rest } }: { body: Json }) => rest;
    for (const name of ['nobody', UNKNOWN, 'OPENAI', 'constructor', '%00', 'openai%2F..']) {
      const path = `/api/v1/providers/${name}`;
      for (const reply of [
        await acme.client.get(path),
        await acme.client.put(path, { api_key: OWN_KEY }),
        await acme.client.delete(path),
        await server.admin.get(`/api/v1/admin/tenants/${acme.id}/providers/${name}`),
        await server.admin.put(`/api/v1/admin/tenants/${UNKNOWN}/providers/openai`, { api_key: OWN_KEY }),
      ]) {
        expect([reply.status, strip(reply)], name).to.deep.equal([404, strip(missing)]);
      }
    }
  });

  it('are 1 to 4096 printable characters without blanks, and none is taken for the demo', async () => {
    for (const wrong of ['', 'a b', 'x'.repeat(4097), 'sk-\u00e9', 'a\nb', 7, null, '\u0000']) {
      const reply = await put('openai', wrong);
      expect([reply.status, reply.body.code], JSON.stringify(wrong)).to.deep.equal([
        422,
        'validation_failed',
      ]);
      if (typeof wrong === 'string' && wrong.length > 2) expect(reply.text).not.to.include(wrong);
    }
    expect((await put('openai', 'x'.repeat(4096))).status).to.equal(200);
    expect((await put('ollama', 'k')).status).to.equal(200);
    expect((await put('demo', OWN_KEY)).body.errors).to.deep.equal([
      { path: 'name', message: 'is the provider "demo", which takes no key' },
    ]);
  });

  it("are used before the server's from the next turn on, by their tenant alone, and no more once removed", async () => {
    const chat = async (client = acme.client, config = configId) => {
      expect((await client.chat(config, { message: 'Hi' })).status).to.equal(200);
      return sentKey();
    };
    expect(await chat()).to.equal(`Bearer ${SERVER_KEY}`);
    await put('openai', OWN_KEY);
    expect(await chat()).to.equal(`Bearer ${OWN_KEY}`);
    const other = await server.createTenant();
    const otherConfig = await server.createConfig(other.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
    expect(await chat(other.client, otherConfig)).to.equal(`Bearer ${SERVER_KEY}`);
    await put('openai', `${OWN_KEY}-2`);
    expect(await chat()).to.equal(`Bearer ${OWN_KEY}-2`);
    await acme.client.delete('/api/v1/providers/openai');
    expect(await chat()).to.equal(`Bearer ${SERVER_KEY}`);
  });

  it('do for a provider that the server has no key for', async () => {
    const config = await server.createConfig(acme.client, {
      name: 'Claude',
      model_config: { provider: 'anthropic', model: 'claude-test' },
    });
    const refused = await acme.client.chat(config, { message: 'Hi' });
    expect([refused.status, refused.body.code]).to.deep.equal([503, 'provider_not_configured']);
    expect(refused.body.detail)
      .to.include('PUT /api/v1/providers/anthropic')
      .and.to.include('ANTHROPIC_API_KEY');
    await put('anthropic', OWN_KEY);
    expect((await acme.client.chat(config, { message: 'Hi' })).status).to.equal(200);
    expect(upstream.requests.at(-1)?.headers['x-api-key']).to.equal(OWN_KEY);
  });

  it("show the provider's own words, without the key, where one of them was used and only there", async () => {
    const failing = async () => {
      upstream.script({ status: 401, errorMessage: 'WORDS\n of \ud800the provider', echoKey: true });
      return String((await acme.client.chat(configId, { message: 'Hi' })).body.detail);
    };
    expect(await failing()).not.to.include('WORDS');
    await put('openai', OWN_KEY);
    const detail = await failing();
    expect(detail)
      .to.include('answered with status 401: ')
      .and.to.include('WORDS of')
      .and.not.include('canary')
      .and.not.match(/[\ud800\n]/);
  });

  it('are not copied to a clone', async () => {
    await put('openai', OWN_KEY);
    const { body } = await server.admin.post(`/api/v1/admin/tenants/${acme.id}/clone`, { name: 'Copy' });
    const copies = await server.admin.get(`/api/v1/admin/tenants/${body.id}/providers`);
    expect(copies.body.data).to.deep.equal([]);
  });

  it('stand in no file and in no line of the log, and the master key is in no backup', async () => {
    await put('openai', OWN_KEY);
    await acme.client.chat(configId, { message: 'Hi' });
    await server.admin.post(`/api/v1/admin/tenants/${acme.id}/backups`, {});
    await server.operations.backups.createOfControl({ id: 'test', name: 'test', requestId: null });
    const masterKey = readFileSync(join(server.dataDir, 'master.key'), 'utf8').trim();
    const files = readdirSync(server.dataDir, { recursive: true, withFileTypes: true }).filter(
      (entry) => entry.isFile() && !entry.name.startsWith('lock.db'),
    );
    for (const secret of [OWN_KEY, Buffer.from(OWN_KEY).toString('base64').slice(0, 30), masterKey]) {
      expect(JSON.stringify(server.logs())).not.to.include(secret);
      const holders = files
        .filter(({ parentPath, name }) => !/\.db(-shm)?$/.test(name) || parentPath.includes('backups'))
        .filter(({ parentPath, name }) => readFileSync(join(parentPath, name)).includes(secret));
      expect(holders.map(({ name }) => name)).to.deep.equal(secret === masterKey ? ['master.key'] : []);
    }
  });

  it('are the only ones where ALLOW_SERVER_KEYS is false', async () => {
    const strict = await startTestServer({ env: { ...env, ALLOW_SERVER_KEYS: 'false' } });
    try {
      const { client } = await strict.createTenant();
      const config = await strict.createConfig(client, {
        model_config: { provider: 'openai', model: 'gpt-test' },
      });
      const refused = await client.chat(config, { message: 'Hi' });
      expect([refused.status, refused.body.code]).to.deep.equal([503, 'provider_not_configured']);
      expect(refused.body.detail)
        .to.include('PUT /api/v1/providers/openai')
        .and.not.include('OPENAI_API_KEY');
      await client.put('/api/v1/providers/openai', { api_key: OWN_KEY });
      expect((await client.chat(config, { message: 'Hi' })).status).to.equal(200);
      const demo = await strict.createConfig(client, { name: 'Demo' });
      expect((await client.chat(demo, { message: 'Hi' })).status).to.equal(200);
    } finally {
      await strict.stop();
    }
  });

  it('are missed by the doctor when the master key is lost, and the tenant is told what to do', async () => {
    const lone = await startTestServer({ env });
    const dataDir = lone.dataDir;
    const path = join(dataDir, 'master.key');
    const examined = async (one: TestServer) => {
      const { text } = await one.admin.post('/api/v1/admin/doctor', {});
      const kinds = [...text.matchAll(/"kind":"(\w+)"/g)].map(([, kind]) => kind);
      return { kinds, toBeKept: /"sealed_with_file":(\d+)/.exec(text)?.[1] };
    };
    const { client, apiKey } = await lone.createTenant();
    const config = await lone.createConfig(client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
    await client.put('/api/v1/providers/openai', { api_key: OWN_KEY });
    expect(await examined(lone)).to.deep.equal({ kinds: [], toBeKept: '1' });
    await lone.close();
    rmSync(path);

    const without = await startTestServer({ env, dataDir });
    const again = without.tenant(apiKey);
    const { kinds, toBeKept } = await examined(without);
    expect(kinds).to.have.members(['master_key_missing', 'provider_keys_unopenable']);
    expect(toBeKept, 'nobody is told to copy what is lost').to.equal('0');
    const refused = await again.chat(config, { message: 'Hi' });
    expect([refused.status, refused.body.code]).to.deep.equal([503, 'provider_not_configured']);
    expect(refused.body.detail).to.include('master key');
    const rotated = await without.admin.post('/api/v1/admin/master-key/rotate', {});
    expect(rotated.body.code).to.equal('provider_not_configured');
    const forced = await without.admin.post('/api/v1/admin/master-key/rotate', { drop_unopenable: true });
    expect(forced.body).to.deep.equal({ resealed: 0, dropped: 1 });
    await without.stop();
  });
});
