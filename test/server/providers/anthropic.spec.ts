import { expect } from 'chai';
import { startUpstream, type Upstream } from '../../support/upstream.ts';
import {
  ask,
  assistant,
  callsOf,
  collect,
  endOf,
  fault,
  KEY,
  type Rig,
  result,
  rigFor,
  textOf,
  user,
} from './support.ts';

const READ = { id: 'toolu_1', name: 'read', arguments: { path: 'a' } };

describe('the anthropic wire format', () => {
  let upstream: Upstream;
  let rig: Rig;

  beforeEach(async () => {
    upstream = await startUpstream();
    rig = rigFor(upstream);
  });
  afterEach(async () => {
    await rig.transport.close();
    await upstream.close();
  });

  const bodyFor = async (more: Parameters<typeof ask>[0]) => {
    await collect(rig.provider('anthropic'), ask(more));
    return upstream.requests.at(-1)?.body;
  };

  it('sends a first message with the default length and nothing that was not asked for', async () => {
    expect(await bodyFor({})).to.deep.equal({
      model: 'scripted-1',
      max_tokens: 4096,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
      stream: true,
    });
    expect(upstream.requests[0]?.path).to.equal('/v1/messages');
  });

  it('sends system prompt, history, tools and parameters in the exact form of Messages', async () => {
    const body = await bodyFor({
      system: 'Be brief.',
      messages: [
        user('Read both'),
        assistant('Reading. ', [READ, { id: 'toolu_2', name: 'read', arguments: {} }]),
        result('toolu_1', 'read', 'text of a'),
        result('toolu_2', 'read', 'no path', true),
        user('and now?'),
        assistant(' \n'),
        user('well?'),
      ],
      tools: [
        { name: 'read', description: 'Reads', parameters: { type: 'object', properties: {} } },
        { name: 'list', description: null, parameters: { type: 'object' } },
      ],
      parameters: { max_tokens: 50, temperature: 0.2, top_k: 3 },
    });
    expect(body).to.deep.equal({
      model: 'scripted-1',
      system: 'Be brief.',
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Read both' }] },
        {
          role: 'assistant',
          content: [
            { type: 'text', text: 'Reading. ' },
            { type: 'tool_use', id: 'toolu_1', name: 'read', input: { path: 'a' } },
            { type: 'tool_use', id: 'toolu_2', name: 'read', input: {} },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'toolu_1', content: 'text of a' },
            { type: 'tool_result', tool_use_id: 'toolu_2', content: 'no path', is_error: true },
            { type: 'text', text: 'and now?' },
            { type: 'text', text: 'well?' },
          ],
        },
      ],
      tools: [
        { name: 'read', description: 'Reads', input_schema: { type: 'object', properties: {} } },
        { name: 'list', input_schema: { type: 'object' } },
      ],
      max_tokens: 50,
      temperature: 0.2,
      top_k: 3,
      stream: true,
    });
  });

  it('leaves room for the answer beside a thinking budget', async () => {
    const thinking = { type: 'enabled', budget_tokens: 2000 };
    expect(await bodyFor({ parameters: { thinking } })).to.include({ max_tokens: 6096 });
  });

  it('leaves out parameters that are null, which Messages refuses, and keeps its default length', async () => {
    const parameters = { max_tokens: null, temperature: null, thinking: null, metadata: { user_id: null } };
    expect(await bodyFor({ parameters })).to.deep.equal({
      model: 'scripted-1',
      max_tokens: 4096,
      metadata: { user_id: null },
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
      stream: true,
    });
  });

  it('gives stubs of the tools in the history, not to be called, where the request has none', async () => {
    const body = await bodyFor({
      messages: [user('Hi'), assistant(null, [READ]), result('toolu_1', 'read', ''), user('go on')],
    });
    expect(body).to.deep.include({
      tools: [{ name: 'read', input_schema: { type: 'object' } }],
      tool_choice: { type: 'none' },
    });
  });

  it('sends a user message first and last whatever is left of the history, and no blank text', async () => {
    const body = await bodyFor({ messages: [assistant('Hello'), user('  ')] });
    expect(body?.messages).to.deep.equal([
      { role: 'user', content: [{ type: 'text', text: '(no text)' }] },
      { role: 'assistant', content: [{ type: 'text', text: 'Hello' }] },
      { role: 'user', content: [{ type: 'text', text: '(no text)' }] },
    ]);
  });

  it('sends the key in its header and nothing from the environment', async () => {
    const before = process.env.ANTHROPIC_CUSTOM_HEADERS;
    process.env.ANTHROPIC_CUSTOM_HEADERS = 'x-api-key: env-canary';
    try {
      await bodyFor({});
    } finally {
      if (before === undefined) delete process.env.ANTHROPIC_CUSTOM_HEADERS;
      else process.env.ANTHROPIC_CUSTOM_HEADERS = before;
    }
    const headers = upstream.requests[0]?.headers;
    expect(headers).to.include({ 'x-api-key': KEY });
    expect(headers).to.have.property('anthropic-version');
    expect(headers).not.to.have.any.keys('authorization', 'accept-encoding');
  });

  it('streams the text and tells input figures before it, output figures after it', async () => {
    upstream.script({ text: ['Hel', 'lo'], usage: { input: 100, output: 7, cached: 60, cacheCreation: 30 } });
    const usage = {
      inputTokens: 100,
      outputTokens: 1,
      cachedInputTokens: 60,
      cacheWriteInputTokens: 30,
      reasoningTokens: 0,
    };
    expect(await collect(rig.provider('anthropic'), ask())).to.deep.equal([
      { type: 'usage', usage },
      { type: 'text', text: 'Hel' },
      { type: 'text', text: 'lo' },
      { type: 'usage', usage: { ...usage, outputTokens: 7 } },
      { type: 'end', finishReason: 'stop', providerData: null },
    ]);
  });

  const reasons = {
    end_turn: 'stop',
    stop_sequence: 'stop',
    pause_turn: 'stop',
    max_tokens: 'length',
    model_context_window_exceeded: 'length',
    refusal: 'content_filter',
    something_new: 'stop',
  };
  for (const [theirs, ours] of Object.entries(reasons)) {
    it(`reads the stop reason ${theirs} as ${ours}`, async () => {
      upstream.script({ text: 'x', finish: theirs });
      expect(endOf(await collect(rig.provider('anthropic'), ask()))?.finishReason).to.equal(ours);
    });
  }

  it('puts the pieces of tool inputs together, none being an empty object', async () => {
    upstream.script({
      text: 'Reading.',
      toolCalls: [
        { name: 'read', arguments: ['', '{"pa', 'th":"a"}'] },
        { name: 'list', arguments: [] },
      ],
    });
    const events = await collect(rig.provider('anthropic'), ask());
    expect(textOf(events)).to.equal('Reading.');
    expect(callsOf(events)).to.deep.equal([
      { id: 'toolu_1', name: 'read', arguments: { path: 'a' } },
      { id: 'toolu_2', name: 'list', arguments: {} },
    ]);
    expect(endOf(events)?.finishReason).to.equal('tool_calls');
  });

  for (const [finish, reason] of [
    ['max_tokens', 'length'],
    ['refusal', 'content_filter'],
  ] as const) {
    it(`drops all calls, and the thinking, of an answer that ${finish} has cut and keeps its text`, async () => {
      upstream.script({
        thinking: { text: 'hm', signature: 'c2ln' },
        text: 'Reading.',
        toolCalls: [{ name: 'read' }, { name: 'read', arguments: ['{"pa'] }],
        finish,
      });
      const events = await collect(rig.provider('anthropic'), ask());
      expect(textOf(events)).to.equal('Reading.');
      expect(callsOf(events)).to.deep.equal([]);
      expect(endOf(events)).to.deep.equal({ type: 'end', finishReason: reason, providerData: null });
    });
  }

  it('refuses broken tool input and a call without a name', async () => {
    upstream.script({ toolCalls: [{ name: 'read', arguments: ['{"pa'] }] }, { toolCalls: [{ name: '' }] });
    expect((await fault(rig.provider('anthropic'))).code).to.equal('upstream_invalid');
    expect((await fault(rig.provider('anthropic'))).code).to.equal('upstream_invalid');
  });

  it('sends signed and redacted thinking back, first and word for word', async () => {
    upstream.script({
      thinking: { text: 'hm', signature: 'c2ln' },
      redactedThinking: 'b3BhcXVl',
      text: 'So:',
      toolCalls: [{ name: 'read' }],
    });
    const events = await collect(rig.provider('anthropic'), ask());
    expect(textOf(events)).to.equal('So:');
    const body = await bodyFor({
      messages: [
        user('Hi'),
        assistant('So:', callsOf(events), endOf(events)?.providerData),
        result('toolu_1', 'read', 'x'),
      ],
    });
    expect(body?.messages).to.have.deep.nested.property('[1].content', [
      { type: 'thinking', thinking: 'hm', signature: 'c2ln' },
      { type: 'redacted_thinking', data: 'b3BhcXVl' },
      { type: 'text', text: 'So:' },
      { type: 'tool_use', id: 'toolu_1', name: 'read', input: {} },
    ]);
  });
});
