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
    upstream.script({ text: 'y'.repeat(8 * MIB), hold: gate }, { text: 'z' });
    const turn = say(10);
    await upstream.received(1);
    gate.open();
    const answered = await turn;
    expect([answered.status, String(answered.body.response).length]).to.deep.equal([200, 8 * MIB]);
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

  it('has a hard end that is a 507 and no damage', async () => {
    const gate = createGate();
    const held = { text: 'y', hold: gate };
    upstream.script(held, held);
    // Each has room for itself, but not for both.
    const turns = [say(17 * MIB), say(17 * MIB)];
    await upstream.received(2);
    gate.open();
    const replies = await Promise.all(turns);
    expect(replies.map(({ status }) => status).sort()).to.deep.equal([200, 507]);
    expect(replies.find(({ status }) => status === 507)?.body.code).to.equal('storage_quota_exceeded');
    const logs = (await tenant.client.get('/api/v1/logs')).body.data as Json[];
    expect(logs.map(({ error_code }) => error_code)).to.have.members([null, 'storage_quota_exceeded']);
    const [kept, ...others] = await conversations();
    expect([kept?.message_count, others.length]).to.deep.equal([2, 0]);
    expect((await tenant.client.delete(`/api/v1/conversations/${kept?.id}`)).status).to.equal(204);
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
