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
const PROMPT_CHARS = 100_000;

describe('storage_bytes_max', () => {
  let server: TestServer;
  let upstream: Upstream;
  let tenant: TestTenant;
  let configId: string;

  beforeEach(async () => {
    upstream = await startUpstream();
    server = await startTestServer({
      env: {
        OPENAI_API_KEY: 'k',
        OPENAI_BASE_URL: upstream.openaiUrl,
        BODY_BYTES_MAX: String(20 * MIB),
      },
    });
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
    upstream.script({ text: 'y'.repeat(3 * MIB), hold: gate }, { text: 'z' });
    const turn = say(10);
    await upstream.received(1);
    gate.open();
    const answered = await turn;
    expect([answered.status, String(answered.body.response).length]).to.deep.equal([200, 3 * MIB]);
    expect((await say(1)).status).to.equal(507);
  });

  it('refuses whatever would grow, so that a turn that has begun still settles', async () => {
    const conversation = String((await say(1)).body.conversation_id);
    const patchConversation = (body: object) =>
      tenant.client.patch(`/api/v1/conversations/${conversation}`, body);
    expect((await patchConversation({ metadata: { note: 'x'.repeat(1000) } })).status).to.equal(200);
    const gate = createGate();
    upstream.script({ text: 'y'.repeat(MIB), hold: gate });
    const turn = say(10);
    await upstream.received(2);

    const made = await fillWithConfigs();
    expect(made).to.be.within(1, 12);
    const asked: [string, () => Promise<Reply>][] = [
      ['create', () => createLarge('one more')],
      ['update', () => tenant.client.patch(`/api/v1/configs/${configId}`, { system_prompt: 'x' })],
      ['rollback', () => tenant.client.post(`/api/v1/configs/${configId}/rollback`, { version: 1 })],
      ['metadata', () => patchConversation({ metadata: { more: 'x' } })],
      ['title', () => patchConversation({ title: 'A title' })],
    ];
    for (const [what, ask] of asked) {
      expect(codeOf(await ask()), what).to.deep.equal([507, 'storage_quota_exceeded']);
    }
    const unchanged = await tenant.client.patch(`/api/v1/configs/${configId}`, {});
    expect([unchanged.status, unchanged.body.version]).to.deep.equal([200, 1]);
    expect((await patchConversation({ metadata: { note: null } })).body.metadata).to.deep.equal({});

    gate.open();
    const answered = await turn;
    expect([answered.status, String(answered.body.response).length]).to.deep.equal([200, MIB]);
    await setLimit(4 * MIB);
    expect((await createLarge('fits again')).status).to.equal(201);
  });

  it('settles every large turn that it lets begin at once, and asks nobody for the others', async () => {
    const gate = createGate();
    upstream.respond(() => ({ text: 'y', hold: gate }));
    // One of these fits into the limit and the 32 MiB beyond it, but not two.
    const turns = Array.from({ length: 2 }, () => say(17 * MIB));
    const first = await Promise.race(turns);
    expect(codeOf(first)).to.deep.equal([507, 'storage_quota_exceeded']);
    expect(first.headers.get('retry-after')).to.equal('1');
    gate.open();
    const statuses = (await Promise.all(turns)).map(({ status }) => status);
    expect(statuses.sort()).to.deep.equal([200, 507]);
    expect(upstream.requests).to.have.length(1);
    const logs = (await tenant.client.get('/api/v1/logs')).body.data as Json[];
    expect(logs.map(({ status }) => status)).to.deep.equal(['ok']);

    expect((await say(1)).status).to.equal(507);
    for (const { id, message_count } of await conversations()) {
      expect(message_count).to.equal(2);
      expect((await tenant.client.delete(`/api/v1/conversations/${id}`)).status).to.equal(204);
    }
    upstream.respond(() => ({ text: 'z' }));
    expect((await say(1)).status).to.equal(200);
  });

  const createLarge = (name: string) =>
    tenant.client.post('/api/v1/configs', {
      name,
      system_prompt: 'x'.repeat(PROMPT_CHARS),
      model_config: { provider: 'demo', model: 'demo' },
    });
  /** Makes configs until one is refused, and gives how many there were. */
  const fillWithConfigs = async (): Promise<number> => {
    for (let count = 0; count < 30; count += 1) {
      const reply = await createLarge(`large ${count}`);
      if (reply.status !== 201) return count;
    }
    return Number.POSITIVE_INFINITY;
  };
});
