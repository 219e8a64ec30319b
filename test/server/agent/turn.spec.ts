import { once } from 'node:events';
import { join } from 'node:path';
import { setImmediate as nextTick } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { expect } from 'chai';
import type { TurnEvent } from '../../../server/agent/agent.ts';
import { NO_USAGE } from '../../../server/agent/usage.ts';
import { Fault } from '../../../tenant-schema/fault.ts';
import type { TurnInput, TurnLog } from '../../../tenant-schema/store.ts';
import { type AgentWorld, begin, startAgent, type TestTenant, take } from '../../support/agents.ts';
import { faultOf } from '../../support/faults.ts';
import { createGate } from '../../support/upstream.ts';

const firstPage = { limit: 100, cursor: null };

describe('a turn', () => {
  let world: AgentWorld;
  let acme: TestTenant;
  beforeEach(async () => {
    world = await startAgent();
    acme = await world.tenant({
      name: 'Editor',
      systemPrompt: 'You are {agent_name} of {tenant_name} on {date}, plan {plan}, {unknown}.',
      toolsConfig: ['read_file'],
    });
  });
  afterEach(() => world.stop());

  const lastLog = async (): Promise<TurnLog | undefined> => (await logs())[0];
  const logs = () =>
    world.tenants.engine.use(acme.identity.tenant.id, (store) => store.listLogs({}, firstPage).data);
  const messages = (conversationId: string) =>
    world.tenants.engine.use(acme.identity.tenant.id, (store) =>
      store.listMessages(conversationId, firstPage).data.toReversed(),
    );
  const conversations = () =>
    world.tenants.engine.use(acme.identity.tenant.id, (store) => store.listConversations({}, firstPage).data);
  /** Starts a turn and stops when the model has said `pieces` pieces; the rest is held back. */
  const startHeld = async (pieces: number, input: string | TurnInput = 'hello', changes = {}) => {
    const gate = createGate();
    world.upstream.script({ text: ['one ', 'two ', 'three'], hold: gate });
    const client = new AbortController();
    const told: TurnEvent[] = [];
    let heard = (): void => {};
    const enough = new Promise<void>((resolve) => {
      heard = resolve;
    });
    const turn = await begin(world.agent, acme.request(input, changes));
    const result = turn.run(client.signal, (event) => {
      told.push(event);
      if (told.length === pieces) heard();
    });
    result.catch(() => {});
    gate.release(pieces);
    if (pieces > 0) await enough;
    else await world.upstream.received(world.upstream.requests.length + 1);
    return { turn, result, client, gate, told };
  };

  it('never lets a stored config change who is asked, or what is charged', async () => {
    const hostile = await world.tenant({
      modelConfig: {
        provider: 'openai',
        model: 'gpt-test',
        seed: 7,
        n: 100,
        service_tier: 'priority',
        'Base-URL': 'http://127.0.0.1:1',
        web_search_options: {},
      },
    });
    await take(world.agent, hostile.request('hi'));
    expect(world.upstream.requests[0]?.body).to.have.all.keys(
      ...['model', 'messages', 'stream', 'stream_options', 'seed'],
    );
  });

  it('renders the template, sends history and tools, and gives the answer and its figures', async () => {
    world.upstream.script({ text: ['Hel', 'lo'], usage: { input: 31, output: 9, cached: 3, reasoning: 2 } });
    const { answer, events } = await take(
      world.agent,
      acme.request('hi', { templateVars: { plan: '{tenant_name}' } }),
    );
    expect(world.upstream.requests[0]?.body.messages).to.deep.equal([
      { role: 'system', content: 'You are Editor of Acme on 2026-01-15, plan {tenant_name}, {unknown}.' },
      { role: 'user', content: 'hi' },
    ]);
    expect(events).to.deep.equal([
      { type: 'text', text: 'Hel' },
      { type: 'text', text: 'lo' },
    ]);
    expect(answer).to.deep.include({
      response: 'Hello',
      toolCalls: [],
      finishReason: 'stop',
      model: 'gpt-test',
      usage: {
        inputTokens: 31,
        outputTokens: 9,
        cachedInputTokens: 3,
        cacheWriteInputTokens: 0,
        reasoningTokens: 2,
      },
      costMicroUsd: null,
    });
    const log = await lastLog();
    expect(log).to.deep.include({
      status: 'ok',
      usage: answer.usage,
      usageEstimated: false,
      configVersion: 1,
    });
    const stored = await messages(answer.conversationId);
    expect(stored.map(({ role, content }) => [role, content])).to.deep.equal([
      ['user', 'hi'],
      ['assistant', 'Hello'],
    ]);
    expect(stored[1]?.id).to.equal(answer.messageId);
    expect(world.samples).to.have.length(1);
  });

  it('replaces missing, repeated and earlier ids of tool calls, so that each is unique in its conversation', async () => {
    world.upstream.script(
      {
        toolCalls: [
          { name: 'read_file', id: 'c1' },
          { name: 'read_file', id: 'c1' },
          { name: 'read_file', id: null },
        ],
      },
      { toolCalls: [{ name: 'read_file', id: 'c1' }] },
    );
    const first = await take(world.agent, acme.request('go'));
    expect(first.answer.response).to.equal(null);
    expect(first.answer.finishReason).to.equal('tool_calls');
    const { conversationId } = first.answer;
    const results = first.answer.toolCalls.map(({ id }) => ({
      toolCallId: id,
      content: 'ok',
      isError: false,
    }));
    const second = await take(
      world.agent,
      acme.request({ kind: 'tool_results', results }, { conversationId }),
    );
    const ids = [...first.answer.toolCalls, ...second.answer.toolCalls].map(({ id }) => id);
    expect(new Set(ids).size).to.equal(4);
    expect(ids[0]).to.equal('c1');
    expect(second.events).to.deep.equal([{ type: 'tool_call', call: second.answer.toolCalls[0] }]);
  });

  it('estimates the usage that a provider does not tell, and says so', async () => {
    world.upstream.script({ text: 'x'.repeat(40), usage: null });
    await take(world.agent, acme.request('y'.repeat(400)));
    const log = await lastLog();
    expect(log?.usageEstimated).to.equal(true);
    expect(log?.usage.outputTokens).to.equal(10);
    expect(log?.usage.inputTokens).to.be.within(100, 200);
  });

  it('leaves nothing but a log row when the provider fails', async () => {
    world.upstream.script({ status: 500 });
    const fault = await faultOf(() => take(world.agent, acme.request('hi')));
    expect(fault.code).to.equal('upstream_unavailable');
    expect(await conversations()).to.deep.equal([]);
    expect(await lastLog()).to.deep.include({
      status: 'error',
      errorCode: 'upstream_unavailable',
      usage: NO_USAGE,
    });
  });

  it('counts what a provider had said before it failed', async () => {
    world.upstream.script({ text: ['x'.repeat(40), 'y'], closeAfter: 1 });
    const fault = await faultOf(() => take(world.agent, acme.request('hi')));
    expect(fault.code).to.equal('upstream_invalid');
    const log = await lastLog();
    expect(log).to.deep.include({ status: 'error', usageEstimated: true });
    expect(log?.usage.outputTokens).to.equal(10);
  });

  it('forwards the first piece without waiting for the second', async () => {
    const held = await startHeld(1);
    expect(held.told).to.deep.equal([{ type: 'text', text: 'one ' }]);
    held.gate.open();
    expect((await held.result).response).to.equal('one two three');
  });

  it('keeps the words produced so far when the client leaves, and ends the upstream call', async () => {
    const held = await startHeld(2);
    held.client.abort();
    await world.upstream.aborted(1);
    expect((await faultOf(() => held.result)).code).to.equal('client_closed_request');
    const stored = await messages(held.turn.conversationId);
    expect(stored.map(({ role, content, status }) => [role, content, status])).to.deep.equal([
      ['user', 'hello', 'complete'],
      ['assistant', 'one two ', 'incomplete'],
    ]);
    const log = await lastLog();
    expect(log).to.include({ status: 'aborted', errorCode: 'client_closed_request', usageEstimated: true });
    expect(log?.usage.outputTokens).to.equal(2);
    expect(
      (await take(world.agent, acme.request('again', { conversationId: held.turn.conversationId }))).answer,
    ).to.have.property('finishReason', 'stop');
  });

  it('leaves the conversation unchanged when the client leaves before the first word', async () => {
    const { answer } = await take(world.agent, acme.request('first'));
    const { conversationId } = answer;
    const held = await startHeld(0, 'second', { conversationId });
    held.client.abort();
    await faultOf(() => held.result);
    expect(await messages(conversationId)).to.have.length(2);
    const log = await lastLog();
    expect(log).to.include({ status: 'aborted', usageEstimated: true });
    expect(log?.usage.inputTokens).to.be.greaterThan(0);
  });

  it('settles a turn whose client had left before it began to run', async () => {
    const turn = await begin(world.agent, acme.request('hi'));
    expect((await faultOf(() => turn.run(AbortSignal.abort(), () => {}))).code).to.equal(
      'client_closed_request',
    );
    expect(world.upstream.requests).to.have.length(0);
    // Nobody was asked.
    expect(await lastLog()).to.deep.include({ status: 'aborted', usage: NO_USAGE });
  });

  it('takes the provider’s figures of a broken stream where they came', async () => {
    acme = await world.tenant({ modelConfig: { provider: 'anthropic', model: 'claude-test' } });
    const gate = createGate();
    world.upstream.script({ text: ['x'.repeat(40), 'y'], usage: { input: 77, output: 50 }, hold: gate });
    const client = new AbortController();
    const turn = await begin(world.agent, acme.request('hi'));
    const result = turn.run(client.signal, () => client.abort());
    gate.release(1);
    await faultOf(() => result);
    expect((await lastLog())?.usage).to.include({ inputTokens: 77, outputTokens: 10 });
  });

  it('gives a slow client time: the upstream waits while a piece is not taken', async () => {
    world.upstream.script({ text: ['a', 'b', 'c'] });
    const taken: string[] = [];
    let waiting = 0;
    const turn = await begin(world.agent, acme.request('hi'));
    await turn.run(new AbortController().signal, async (event) => {
      waiting += 1;
      expect(waiting).to.equal(1);
      await once(AbortSignal.timeout(1), 'abort');
      taken.push(event.type === 'text' ? event.text : '');
      waiting -= 1;
    });
    expect(taken.join('')).to.equal('abc');
  });

  it('refuses a provider that the tenant may not use, or that has no key, before anything is stored', async () => {
    acme.identity.tenant.limits.providers = ['demo'];
    expect((await faultOf(() => world.agent.begin(acme.request('hi')))).code).to.equal(
      'provider_not_allowed',
    );
    acme = await world.tenant({ modelConfig: { provider: 'groq', model: 'x' } });
    expect((await faultOf(() => world.agent.begin(acme.request('hi')))).code).to.equal(
      'provider_not_configured',
    );
    expect(await logs()).to.deep.equal([]);
    expect(await conversations()).to.deep.equal([]);
  });

  it('refuses a prompt that its variables make too long, before anything is stored', async () => {
    acme = await world.tenant({ systemPrompt: '{a}'.repeat(20_000) });
    const begin = () => world.agent.begin(acme.request('hi', { templateVars: { a: 'x'.repeat(10_000) } }));
    const fault = await faultOf(begin);
    expect(fault.details.errors?.[0]?.path).to.equal('template_vars');
    expect(await conversations()).to.deep.equal([]);
    await world.agent.drain(0);
  });

  it('gives up on arguments that are nested without end, and on a name that is none', async () => {
    const deep = `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`;
    world.upstream.script(
      { toolCalls: [{ name: 'read_file', arguments: [deep] }] },
      { toolCalls: [{ name: 'x'.repeat(300) }] },
    );
    expect((await faultOf(() => take(world.agent, acme.request('go')))).code).to.equal('upstream_invalid');
    expect((await faultOf(() => take(world.agent, acme.request('go')))).code).to.equal('upstream_invalid');
    expect(await conversations()).to.deep.equal([]);
  });

  it('gives up on an answer without end', async () => {
    world.upstream.script({ text: Array(300).fill('x'.repeat(64 * 1024)) });
    expect((await faultOf(() => take(world.agent, acme.request('go')))).code).to.equal('upstream_invalid');
  });

  it('replaces an id of a tool call that a client could not send back', async () => {
    world.upstream.script({
      toolCalls: [
        { name: 'read_file', id: 'a\u0000b' },
        { name: 'read_file', id: 'ä' },
      ],
    });
    const { answer } = await take(world.agent, acme.request('go'));
    for (const { id } of answer.toolCalls) expect(id).to.match(/^call_[0-9a-f]{32}$/);
  });

  it('ends at its abort although the client takes nothing off its connection', async () => {
    world.upstream.script({ text: ['a', 'b'] });
    const turn = await begin(world.agent, acme.request('hi'));
    const stuck = new Promise<void>(() => {});
    let emitted = (): void => {};
    const first = new Promise<void>((resolve) => {
      emitted = resolve;
    });
    const result = turn.run(new AbortController().signal, () => {
      emitted();
      return stuck;
    });
    result.catch(() => {});
    await first;
    await world.agent.drain(0);
    expect((await faultOf(() => result)).code).to.equal('overloaded');
    expect(await lastLog()).to.include({ status: 'aborted' });
  });

  it('keeps an answer that was paid for while another program has the file locked', async () => {
    const held = await startHeld(1);
    const outside = new Database(join(world.tenants.folder, `${acme.identity.tenant.id}.db`));
    outside.exec('BEGIN IMMEDIATE');
    const { engine } = world.tenants;
    const use = engine.use;
    let attempts = 0;
    engine.use = (id, work) => {
      attempts += 1;
      if (attempts === 2) outside.close();
      return use(id, work);
    };
    held.gate.open();
    expect((await held.result).response).to.equal('one two three');
    expect(attempts).to.equal(2);
    engine.use = use;
  });

  it('lets no turn of a tenant begin while its file is worked on, and aborts those that run', async () => {
    const held = await startHeld(1);
    const reason = new Fault('tenant_unavailable', 'The data are being restored.');
    let resume = (): void => {};
    const gate = new Promise<void>((resolve) => {
      resume = resolve;
    });
    const working = world.agent.paused(acme.identity.tenant.id, reason, async () => {
      expect(await lastLog()).to.include({ status: 'aborted', errorCode: 'tenant_unavailable' });
      await gate;
    });
    expect((await faultOf(() => held.result)).code).to.equal('tenant_unavailable');
    const asked = world.upstream.requests.length;
    const later = take(world.agent, acme.request('later'));
    const other = await world.tenant();
    await take(world.agent, other.request('not concerned'));
    expect(world.upstream.requests).to.have.length(asked + 1);
    resume();
    await working;
    expect((await later).answer.finishReason).to.equal('stop');
  });

  it('drains: waits for running turns, aborts those past the deadline, and settles each', async () => {
    const held = await startHeld(1);
    await world.agent.drain(1);
    expect((await faultOf(() => held.result)).code).to.equal('overloaded');
    expect(await lastLog()).to.include({ status: 'aborted', errorCode: 'overloaded' });
    expect(await messages(held.turn.conversationId)).to.have.length(2);
  });

  it('ends an answer that takes longer than the total time allowed', async () => {
    await world.stop();
    world = await startAgent({ totalTimeoutMs: 50 });
    acme = await world.tenant();
    world.upstream.script({ text: ['a', 'b'], hangAfter: 1 });
    expect((await faultOf(() => take(world.agent, acme.request('hi')))).code).to.equal('upstream_timeout');
    expect(await lastLog()).to.include({ status: 'error', errorCode: 'upstream_timeout' });
    await world.upstream.aborted(1);
  });

  it('counts the question of an answer that took too long, though nothing of it came', async () => {
    await world.stop();
    world = await startAgent({ totalTimeoutMs: 50 });
    acme = await world.tenant();
    world.upstream.script({ hangAfter: 'request' });
    expect((await faultOf(() => take(world.agent, acme.request('y'.repeat(400))))).code).to.equal(
      'upstream_timeout',
    );
    const log = await lastLog();
    expect(log).to.include({ status: 'error', usageEstimated: true });
    expect(log?.usage.inputTokens).to.be.at.least(100);
  });

  for (const provider of ['openai', 'anthropic', 'deepseek-like']) {
    const wire = provider === 'anthropic' ? 'anthropic' : 'openai';
    it(`counts what a model has written out of sight before its answer was cut: ${provider}`, async () => {
      acme = await world.tenant({
        modelConfig: { provider: wire, model: 'm' },
        toolsConfig: ['write_file'],
      });
      const said = 'x'.repeat(400);
      world.upstream.script(
        provider === 'deepseek-like'
          ? { thinking: { text: ['a', said], signature: '' }, text: 'never', closeAfter: 2 }
          : { toolCalls: [{ name: 'write_file', arguments: ['{"text":"', said, '"}'] }], closeAfter: 3 },
      );
      expect((await faultOf(() => take(world.agent, acme.request('go')))).code).to.equal('upstream_invalid');
      const log = await lastLog();
      expect(log).to.include({ status: 'error', usageEstimated: true });
      expect(log?.usage.outputTokens).to.be.within(100, 150);
    });
  }

  it('estimates a whole call once, though it came in pieces', async () => {
    const toolCalls = [{ name: 'read_file', arguments: { path: 'x'.repeat(400) } }];
    world.upstream.script({ toolCalls, usage: null });
    await take(world.agent, acme.request('go'));
    expect((await lastLog())?.usage.outputTokens).to.be.within(100, 150);
  });

  it('frees the conversation even where the end of a turn cannot be written', async () => {
    const { answer } = await take(world.agent, acme.request('first'));
    const { conversationId } = answer;
    const held = await startHeld(1, 'second', { conversationId });
    const { engine } = world.tenants;
    const use = engine.use;
    engine.use = () => Promise.reject(new Error('disk full'));
    held.gate.open();
    expect((await faultOf(() => held.result)).code).to.equal('internal_error');
    engine.use = use;
    expect(world.errors).to.have.length(1);
    await take(world.agent, acme.request('third', { conversationId }));
    expect((await messages(conversationId)).map(({ content }) => content))
      .to.include('third')
      .and.not.include('second');
    expect((await logs()).map(({ status }) => status)).to.have.members(['ok', 'ok', 'aborted']);
  });

  describe('whose end could not be written', () => {
    /** Takes turns that are cut off while the tenant's file is out of reach. */
    const leaveUnsettled = async (count: number): Promise<void> => {
      const held = [];
      for (let turn = 0; turn < count; turn += 1) held.push(await startHeld(1));
      const { engine } = world.tenants;
      const use = engine.use;
      engine.use = () => Promise.reject(new Fault('tenant_unavailable', 'Out of reach.'));
      for (const { client } of held) client.abort();
      for (const { result } of held) await faultOf(() => result);
      engine.use = use;
    };
    const codes = async () => (await logs()).map(({ errorCode }) => errorCode);

    it('is logged as it was before any other begins, however many come at once', async () => {
      await leaveUnsettled(3);
      acme.identity.tenant.limits.max_concurrent_turns = 1;
      await Promise.allSettled([1, 2, 3].map(() => take(world.agent, acme.request('next'))));
      expect(await codes()).to.include.members(Array.from({ length: 3 }, () => 'client_closed_request'));
      expect(await codes()).to.not.include('server_stopped');
    });

    it('is logged before its data are replaced', async () => {
      await leaveUnsettled(2);
      const reason = new Fault('tenant_unavailable', 'The data are being restored.');
      await world.agent.paused(acme.identity.tenant.id, reason, async () => {
        expect(await codes()).to.deep.equal(['client_closed_request', 'client_closed_request']);
      });
    });
  });

  it('under a key is waited for by a drain though its client has left, and is answered to who asks again', async () => {
    const idempotency = { keyHash: 'a'.repeat(64), fingerprint: 'b'.repeat(64) };
    const held = await startHeld(1, 'hello', { idempotency });
    held.client.abort();
    const drained = world.agent.drain(60_000);
    held.gate.open();
    await drained;
    const again = await world.agent.begin(acme.request('hello', { idempotency }));
    expect(again).to.deep.equal({ kind: 'replayed', answer: await held.result });
  });

  it('logs the provider’s figures of a whole answer that could not be stored', async () => {
    const held = await startHeld(1);
    const { engine } = world.tenants;
    const use = engine.use;
    engine.use = () => {
      engine.use = use;
      return Promise.reject(new Error('once'));
    };
    held.gate.open();
    await faultOf(() => held.result);
    expect(await lastLog()).to.deep.include({ status: 'error', usageEstimated: false });
    expect((await lastLog())?.usage).to.include({ inputTokens: 10, outputTokens: 5 });
  });
});

describe('a turn that has begun when the disk fails', () => {
  it('is nobody’s: it holds neither its conversation nor what waits for the end of turns', async () => {
    let sync: () => Promise<void> = async () => {};
    const world = await startAgent({ engine: { durability: 'full', syncFile: () => sync() } });
    const acme = await world.tenant();
    const { id } = acme.identity.tenant;
    world.upstream.respond(() => ({ text: 'Hello' }));
    const { answer } = await take(world.agent, acme.request('hello'));
    const again = acme.request('hello again', { conversationId: answer.conversationId });
    let fail = (_error: Error): void => {};
    sync = () =>
      new Promise((_, reject) => {
        fail = reject;
      });
    const write = world.tenants.engine.use(id, (store) => store.setTenantName('Acme Inc.'));
    const beginning = world.agent.begin(again);
    await nextTick();
    sync = async () => {};
    fail(new Error('EIO'));
    expect((await faultOf(() => write)).code).to.equal('tenant_unavailable');
    expect((await faultOf(() => beginning)).code).to.equal('tenant_unavailable');
    expect((await take(world.agent, again)).answer.response).to.equal('Hello');
    const logs = await world.tenants.engine.use(id, (store) => store.listLogs({}, firstPage).data);
    expect(logs.map(({ status, errorCode }) => errorCode ?? status)).to.deep.equal([
      'ok',
      'tenant_unavailable',
      'ok',
    ]);
    await world.agent.paused(id, new Fault('tenant_unavailable', 'replaced'), async () => {});
    await world.stop();
  });
});
