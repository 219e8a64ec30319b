import { expect } from 'chai';
import {
  type Json,
  type Reply,
  startTestServer,
  type TestServer,
  type TestTenant,
} from '../../support/http.ts';
import { createGate, startUpstream, type Upstream } from '../../support/upstream.ts';

const MIB = 1024 * 1024;
/** As long as one may be. */
const PROMPT_CHARS = 100_000;

describe('storage_bytes_max', () => {
  let server: TestServer;
  let upstream: Upstream;
  let tenant: TestTenant;
  let configId: string;

  beforeEach(async () => {
    upstream = await startUpstream();
    server = await startTestServer({ env: { OPENAI_API_KEY: 'k', OPENAI_BASE_URL: upstream.openaiUrl } });
    tenant = await server.createTenant({ limits: { storage_bytes_max: MIB } });
    configId = await server.createConfig(tenant.client, {
      model_config: { provider: 'openai', model: 'gpt-test' },
    });
  });
  afterEach(async () => {
    await server.stop();
    await upstream.close();
  });

  const say = (length: number) => tenant.client.chat(configId, { message: 'x'.repeat(length) });
  const setLimit = (bytes: number | null) =>
    server.admin.patch(`/api/v1/admin/tenants/${tenant.id}`, { limits: { storage_bytes_max: bytes } });
  const codeOf = ({ status, body }: Reply) => [status, body.code];
  const conversations = async () => (await tenant.client.get('/api/v1/conversations')).body.data as Json[];

  it('refuses a turn over it before anybody is asked; reads and deletes still work, and make room', async () => {
    expect((await say(600_000)).status).to.equal(200);
    expect((await say(600_000)).status).to.equal(200);
    const refused = await say(1);
    expect(codeOf(refused)).to.deep.equal([507, 'storage_quota_exceeded']);
    expect(refused.body.detail).to.include(String(MIB));
    expect(upstream.requests).to.have.length(2);
    expect((await tenant.client.get('/api/v1/logs')).body.data).to.have.length(2);
    const stream = await tenant.client.stream(configId, { message: 'x' });
    expect(stream.status).to.equal(507);
    stream.abort();
    for (const { id } of await conversations()) {
      expect((await tenant.client.delete(`/api/v1/conversations/${id}`)).status).to.equal(204);
    }
    expect((await say(1)).status).to.equal(200);
  });

  it('counts from the next request on, whichever way it is changed', async () => {
    await setLimit(1000);
    expect((await say(1)).status).to.equal(507);
    await setLimit(null);
    expect((await say(1)).status).to.equal(200);
    await setLimit(0);
    expect((await say(1)).status).to.equal(507);
  });

  it('leaves a turn that has begun room to settle', async () => {
    await setLimit(200_000);
    const gate = createGate();
    upstream.script({ text: 'y'.repeat(8 * MIB), hold: gate }, { text: 'z' });
    const turn = say(10);
    await upstream.received(1);
    gate.open();
    const answered = await turn;
    expect([answered.status, String(answered.body.response).length]).to.deep.equal([200, 8 * MIB]);
    expect((await say(1)).status).to.equal(507);
  });

  it('has a hard end that is a 507 and no damage', async () => {
    await setLimit(4096);
    let reply: Reply | undefined;
    // Configs are not turns: nothing but the hard end stops them.
    for (let count = 0; reply?.status !== 507 && count < 600; count += 1) {
      reply = await tenant.client.post('/api/v1/configs', {
        name: `large ${count}`,
        system_prompt: 'x'.repeat(PROMPT_CHARS),
        model_config: { provider: 'demo', model: 'demo' },
      });
    }
    expect(codeOf(reply as Reply)).to.deep.equal([507, 'storage_quota_exceeded']);
    expect((await tenant.client.get('/api/v1/configs?limit=1')).status).to.equal(200);
    expect((await tenant.client.delete(`/api/v1/configs/${configId}`)).status).to.equal(204);
    await setLimit(null);
    const after = await tenant.client.post('/api/v1/configs', {
      name: 'fits again',
      model_config: { provider: 'demo', model: 'demo' },
    });
    expect(after.status, after.text).to.equal(201);
  });
});
