import { expect } from 'chai';
import type { TenantLimits, TenantSettings } from '../../../control-plane/types.ts';
import { PRICE_LIST } from '../../../server/pricing/price-list.ts';
import type { TurnLogDetail } from '../../../tenant-schema/store.ts';
import { type AgentWorld, begin, startAgent, type TestTenant, take } from '../../support/agents.ts';
import { faultOf } from '../../support/faults.ts';

/** US dollars for a million tokens, and so micro-dollars for a token. */
const PRICES = { openai: { 'gpt-priced': { input: 2, output: 5 } } };
const VERSION = /^genai-prices@[\d.]+\+[0-9a-f]{12}$/;
const SECRET = 'sk-proj-Abcdefghijklmnop1234';

describe('what a turn leaves in the log', () => {
  let world: AgentWorld;
  let acme: TestTenant;
  before(async () => {
    world = await startAgent({ prices: PRICES, ownKeys: { groq: 'gsk-own' } });
  });
  after(() => world.stop());
  beforeEach(async () => {
    acme = await world.tenant({
      systemPrompt: '',
      modelConfig: { provider: 'openai', model: 'gpt-priced' },
    });
  });

  const lastLog = (): Promise<TurnLogDetail> =>
    world.tenants.engine.use(acme.identity.tenant.id, (store) => {
      const [row] = store.listLogs({}, { limit: 1, cursor: null }).data;
      if (!row) throw new Error('there is no log row');
      return store.getLog(row.id);
    });
  const set = (limits: Partial<TenantLimits>, settings: Partial<TenantSettings> = {}): void => {
    Object.assign(acme.identity.tenant.limits, limits);
    Object.assign(acme.identity.tenant.settings, settings);
  };
  /** Takes a turn whose client leaves at the first word. */
  const leave = async (text: string, said: string): Promise<void> => {
    world.upstream.script({ text: [said, ' never heard'], usage: null, hangAfter: 1 });
    const client = new AbortController();
    const turn = await begin(world.agent, acme.request(text));
    const fault = await faultOf(() => turn.run(client.signal, () => client.abort()));
    expect(fault.code).to.equal('client_closed_request');
  };

  describe('about its cost', () => {
    it('is what the provider counted, at the prices of the version that is named', async () => {
      world.upstream.script({ text: 'Hi', usage: { input: 30, output: 7 } });
      const { answer } = await take(world.agent, acme.request('Hello'));
      expect(answer.costMicroUsd).to.equal(30 * 2 + 7 * 5);
      const log = await lastLog();
      expect(log).to.include({ status: 'ok', costMicroUsd: 95 });
      expect(log.priceVersion).to.match(VERSION);
    });

    it('is nothing for a turn that failed before its provider was at work', async () => {
      world.upstream.script({ status: 500 });
      await faultOf(() => take(world.agent, acme.request('Hello')));
      const log = await lastLog();
      expect(log).to.include({ status: 'error', costMicroUsd: 0 });
      expect(log.priceVersion).to.match(VERSION);
    });

    it('is that of what was said for a turn that failed later, estimated', async () => {
      world.upstream.script({ text: ['x'.repeat(400), 'y'], closeAfter: 1, usage: null });
      await faultOf(() => take(world.agent, acme.request('Hello')));
      const log = await lastLog();
      expect(log).to.include({ status: 'error', usageEstimated: true });
      expect(log.usage.outputTokens).to.equal(100);
      expect(log.costMicroUsd).to.equal(log.usage.inputTokens * 2 + 100 * 5);
    });

    it('is that of what was said for a turn whose client left, estimated', async () => {
      await leave('Hello', 'x'.repeat(400));
      const log = await lastLog();
      expect(log).to.include({ status: 'aborted', usageEstimated: true });
      expect(log.usage.outputTokens).to.equal(100);
      expect(log.costMicroUsd).to.equal(log.usage.inputTokens * 2 + 100 * 5);
      expect(log.priceVersion).to.match(VERSION);
    });

    it('is unknown, and not nothing, for a model without a price', async () => {
      acme = await world.tenant({ modelConfig: { provider: 'openai', model: 'gpt-test' } });
      const { answer } = await take(world.agent, acme.request('Hello'));
      expect(answer.costMicroUsd).to.equal(null);
      expect(await lastLog()).to.include({ costMicroUsd: null, priceVersion: null });
    });

    it('is nothing at the embedded provider, whose price is known', async () => {
      acme = await world.tenant({ modelConfig: { provider: 'demo', model: 'demo' } });
      const { answer } = await take(world.agent, acme.request('Hello'));
      expect(answer.costMicroUsd).to.equal(0);
      expect((await lastLog()).priceVersion).to.include(PRICE_LIST);
    });
  });

  describe('about what was said', () => {
    it('is nothing unless the tenant wants it', async () => {
      await take(world.agent, acme.request('Hello'));
      expect((await lastLog()).content).to.equal(null);
    });

    it('is both sides, calls of tools included', async () => {
      acme = await world.tenant({ toolsConfig: ['look'] });
      set({}, { log_content: true });
      world.upstream.script({ text: 'I look.', toolCalls: [{ name: 'look', arguments: { at: 'sky' } }] });
      await take(world.agent, acme.request('Hello'));
      expect((await lastLog()).content).to.deep.equal({
        input: 'Hello',
        output: 'I look.\n{"name":"look","arguments":{"at":"sky"}}',
      });
    });

    it('has no secrets in it unless the tenant wants them kept', async () => {
      const say = async (): Promise<TurnLogDetail['content']> => {
        world.upstream.script({ text: ['Is ', SECRET.slice(0, 9), SECRET.slice(9), ' yours?'] });
        await take(world.agent, acme.request(`My key: ${SECRET}`));
        return (await lastLog()).content;
      };
      set({}, { log_content: true });
      expect(await say()).to.deep.equal({ input: 'My key: [redacted]', output: 'Is [redacted] yours?' });
      set({}, { redact_secrets: false });
      expect(await say()).to.deep.equal({ input: `My key: ${SECRET}`, output: `Is ${SECRET} yours?` });
    });

    it('is cut where it is long, and never through a secret or a character', async () => {
      set({}, { log_content: true });
      const most = 64 * 1024;
      const keep = async (text: string): Promise<string> => {
        await take(world.agent, acme.request(text));
        return (await lastLog()).content?.input ?? '';
      };
      expect(await keep('x'.repeat(most))).to.equal('x'.repeat(most));
      expect(await keep('x'.repeat(most + 1))).to.equal(`${'x'.repeat(most)}…`);
      expect(await keep('x'.repeat(300_000))).to.have.length(most + 1);
      const divided = await keep(`${' '.repeat(most - 10)}${SECRET}`);
      expect(divided.trim()).to.equal('[redacted]');
      // Where so much is replaced that all that is looked at fits, its end may still be the half of a secret.
      const token = `eyJ${'a'.repeat(100)}.${'b'.repeat(100)}.${'c'.repeat(100)}`;
      const full = most + 4096;
      const secrets = `${SECRET} `.repeat(Math.ceil(full / (SECRET.length + 1)));
      const short = await keep(`${secrets.slice(0, full - 150)}${token} and more`);
      expect(short).to.not.include('eyJ');
      expect(short.endsWith('…')).to.equal(true);
      const halved = await keep(`${'x'.repeat(most - 1)}😀😀`);
      expect(halved.isWellFormed()).to.equal(true);
    });

    it('is what there was, of a turn that was broken off', async () => {
      set({}, { log_content: true });
      await leave('Hello', 'half a');
      expect((await lastLog()).content).to.deep.equal({ input: 'Hello', output: 'half a' });
      world.upstream.script({ status: 500 });
      await faultOf(() => take(world.agent, acme.request('Again')));
      expect((await lastLog()).content).to.deep.equal({ input: 'Again', output: '' });
    });
  });

  describe('and what its provider is asked with', () => {
    const sent = () => world.upstream.requests.at(-1)?.body;

    it('bounds the answer where a budget is kept and the config does not', async () => {
      await take(world.agent, acme.request('Hello'));
      expect(sent()).to.not.have.any.keys('max_tokens', 'max_completion_tokens');
      set({ monthly_spend_usd: 1, tokens_per_minute: 1e6 });
      await take(world.agent, acme.request('Hello'));
      expect(sent()).to.include({ max_completion_tokens: 4096 });
      acme = await world.tenant({
        modelConfig: { provider: 'openai', model: 'gpt-priced', max_tokens: 9 },
      });
      set({ monthly_spend_usd: 1 });
      await take(world.agent, acme.request('Hello'));
      expect(sent()).to.include({ max_tokens: 9 });
      expect(sent()).to.not.have.property('max_completion_tokens');
    });

    it("asks for the tenant's own key once for each turn, however much is said in it", async () => {
      const asked = world.keysAsked.length;
      world.upstream.script({ text: ['a', 'b', 'c', 'd'] });
      await take(world.agent, acme.request('Hello'));
      expect(world.keysAsked.slice(asked)).to.deep.equal([
        { tenantId: acme.identity.tenant.id, provider: 'openai' },
      ]);
    });

    it('admits a turn on the own key alone, where the server has none', async () => {
      acme = await world.tenant({ modelConfig: { provider: 'groq', model: 'x' } });
      const turn = await begin(world.agent, acme.request('Hello'));
      await faultOf(() => turn.run(AbortSignal.abort(), () => {}));
    });
  });
});
