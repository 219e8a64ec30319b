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
  lastUsage,
  printed,
  type Rig,
  result,
  rigFor,
  textOf,
  user,
} from './support.ts';

const WEATHER = { id: 'call_1', name: 'weather', arguments: { city: 'Bern' } };
const TOOLS = [
  { name: 'weather', description: 'Tells the weather', parameters: { type: 'object', properties: {} } },
  { name: 'clock', description: null, parameters: { type: 'object' } },
];

describe('the openai wire format', () => {
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

  it('sends a first message and nothing that was not asked for', async () => {
    await collect(rig.provider('openai'), ask());
    expect(upstream.requests[0]?.path).to.equal('/v1/chat/completions');
    expect(upstream.requests[0]?.body).to.deep.equal({
      model: 'scripted-1',
      messages: [{ role: 'user', content: 'Hi' }],
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  it('sends system prompt, history, tools and parameters in the exact form of Chat Completions', async () => {
    await collect(
      rig.provider('openai'),
      ask({
        system: 'Be brief.',
        messages: [
          user('Weather?'),
          assistant(null, [WEATHER, { id: 'call_2', name: 'clock', arguments: {} }]),
          result('call_1', 'weather', 'rain'),
          result('call_2', 'clock', 'broken', true),
          assistant('It rains.'),
          assistant(''),
          user('Thanks'),
        ],
        tools: TOOLS,
        parameters: { max_tokens: 9, temperature: 0.5, response_format: { type: 'text' }, stream: false },
      }),
    );
    expect(upstream.requests[0]?.body).to.deep.equal({
      model: 'scripted-1',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Weather?' },
        {
          role: 'assistant',
          content: null,
          tool_calls: [
            { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } },
            { id: 'call_2', type: 'function', function: { name: 'clock', arguments: '{}' } },
          ],
        },
        { role: 'tool', tool_call_id: 'call_1', content: 'rain' },
        { role: 'tool', tool_call_id: 'call_2', content: 'Error: broken' },
        { role: 'assistant', content: 'It rains.' },
        { role: 'user', content: 'Thanks' },
      ],
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: 'Tells the weather',
            parameters: { type: 'object', properties: {} },
          },
        },
        { type: 'function', function: { name: 'clock', parameters: { type: 'object' } } },
      ],
      max_tokens: 9,
      temperature: 0.5,
      response_format: { type: 'text' },
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  it('sends the key and the headers of the format, none that the environment names for another provider', async () => {
    const before = { ...process.env };
    Object.assign(process.env, {
      OPENAI_ORG_ID: 'org-canary',
      OPENAI_PROJECT_ID: 'proj-canary',
      OPENAI_CUSTOM_HEADERS: 'Authorization: Bearer env-canary\nX-Env: env-canary',
    });
    try {
      await collect(rig.provider('groq'), ask());
    } finally {
      for (const name of ['OPENAI_ORG_ID', 'OPENAI_PROJECT_ID', 'OPENAI_CUSTOM_HEADERS']) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
    }
    const headers = upstream.requests[0]?.headers ?? {};
    expect(headers.authorization).to.equal(`Bearer ${KEY}`);
    expect(headers['content-type']).to.equal('application/json');
    expect(JSON.stringify(headers)).not.to.match(/(org|proj|env)-canary/);
    expect(headers).not.to.have.any.keys('openai-organization', 'openai-project', 'x-env', 'accept-encoding');
  });

  it('streams the text in the pieces in which it came and ends with stop', async () => {
    upstream.script({ text: ['Hel', 'lo'] });
    const events = await collect(rig.provider('openai'), ask());
    expect(events).to.deep.equal([
      { type: 'text', text: 'Hel' },
      { type: 'text', text: 'lo' },
      {
        type: 'usage',
        usage: {
          inputTokens: 10,
          outputTokens: 5,
          cachedInputTokens: 0,
          cacheWriteInputTokens: 0,
          reasoningTokens: 0,
        },
      },
      { type: 'end', finishReason: 'stop', providerData: null },
    ]);
  });

  it('gives a refusal as text', async () => {
    upstream.script({ refusal: 'No.' });
    expect(textOf(await collect(rig.provider('openai'), ask()))).to.equal('No.');
  });

  const reasons = {
    stop: 'stop',
    length: 'length',
    max_tokens: 'length',
    model_length: 'length',
    content_filter: 'content_filter',
    'content_filter: RECITATION': 'content_filter',
    SAFETY: 'content_filter',
    eos: 'stop',
    constructor: 'stop',
  };
  for (const [theirs, ours] of Object.entries(reasons)) {
    it(`reads the finish reason ${theirs} as ${ours}`, async () => {
      upstream.script({ text: 'x', finish: theirs });
      expect(endOf(await collect(rig.provider('openai'), ask()))?.finishReason).to.equal(ours);
    });
  }

  const failures = {
    error: 'upstream_unavailable',
    insufficient_system_resource: 'upstream_unavailable',
    abort: 'upstream_unavailable',
    'function_call_filter: MALFORMED_FUNCTION_CALL': 'upstream_invalid',
  };
  for (const [reason, code] of Object.entries(failures)) {
    it(`answers the finish reason ${reason} with ${code}, and names it in the log alone`, async () => {
      upstream.script({ text: 'x', finish: reason });
      const error = await fault(rig.provider('openai'));
      expect(error.code).to.equal(code);
      expect(error.message).not.to.contain(`"${reason}"`);
      expect(printed(error.cause)).to.contain(`"${reason}"`);
    });
  }

  it('puts the pieces of several calls together', async () => {
    upstream.script({
      text: 'Let me see.',
      toolCalls: [
        { name: 'weather', arguments: ['{"ci', 'ty":"Be', 'rn"}'] },
        { name: 'clock', arguments: [] },
        { name: 'weather', arguments: { city: 'Rom' } },
      ],
    });
    const events = await collect(rig.provider('openai'), ask({ tools: TOOLS }));
    expect(callsOf(events)).to.deep.equal([
      { id: 'call_1', name: 'weather', arguments: { city: 'Bern' } },
      { id: 'call_2', name: 'clock', arguments: {} },
      { id: 'call_3', name: 'weather', arguments: { city: 'Rom' } },
    ]);
    expect(endOf(events)?.finishReason).to.equal('tool_calls');
  });

  it('takes whole calls without numbers or ids, and tool calls that end with stop', async () => {
    upstream.script({
      toolCalls: [
        { name: 'weather', id: null, whole: true, arguments: { city: 'Bern' } },
        { name: 'weather', id: null, whole: true, arguments: { city: 'Rom' } },
        { name: 'clock', id: 'same', whole: true },
      ],
      finish: 'stop',
    });
    const events = await collect(rig.provider('openai'), ask({ tools: TOOLS }));
    expect(callsOf(events)).to.deep.equal([
      { id: '', name: 'weather', arguments: { city: 'Bern' } },
      { id: '', name: 'weather', arguments: { city: 'Rom' } },
      { id: 'same', name: 'clock', arguments: {} },
    ]);
    expect(endOf(events)?.finishReason).to.equal('tool_calls');
  });

  it('keeps whole calls apart that all carry the number 0', async () => {
    upstream.script({
      toolCalls: [
        { name: 'weather', whole: true, vendor: { index: 0 }, arguments: { city: 'Bern' } },
        { name: 'weather', whole: true, vendor: { index: 0 }, id: null, arguments: { city: 'Rom' } },
        { name: 'clock', whole: true, vendor: { index: 0 } },
      ],
    });
    const calls = callsOf(await collect(rig.provider('google'), ask({ tools: TOOLS })));
    expect(calls.map((call) => call.arguments)).to.deep.equal([{ city: 'Bern' }, { city: 'Rom' }, {}]);
  });

  for (const finish of ['length', 'content_filter']) {
    it(`drops all calls of an answer that was cut off by ${finish} and keeps its text`, async () => {
      upstream.script({
        text: 'Let me see.',
        thinking: { text: 'hm', signature: '' },
        toolCalls: [
          { name: 'weather', arguments: { city: 'Bern' } },
          { name: 'weather', arguments: ['{"ci'] },
        ],
        finish,
      });
      const events = await collect(rig.provider('deepseek'), ask({ tools: TOOLS }));
      expect(textOf(events)).to.equal('Let me see.');
      expect(callsOf(events)).to.deep.equal([]);
      expect(endOf(events)).to.deep.equal({ type: 'end', finishReason: finish, providerData: null });
    });
  }

  it('drops a call whose arguments had not begun when the length was reached', async () => {
    upstream.script({ toolCalls: [{ name: 'weather', arguments: [] }], finish: 'length' });
    expect(callsOf(await collect(rig.provider('openai'), ask()))).to.deep.equal([]);
  });

  for (const json of ['{"ci', '[]', '"text"', 'null']) {
    it(`refuses the call arguments ${json}`, async () => {
      upstream.script({ toolCalls: [{ name: 'weather', arguments: [json] }] });
      expect((await fault(rig.provider('openai'))).code).to.equal('upstream_invalid');
    });
  }

  it('refuses a call without a name', async () => {
    upstream.script({ toolCalls: [{ name: '' }] });
    expect((await fault(rig.provider('openai'))).code).to.equal('upstream_invalid');
  });

  it('tells cached and reasoning tokens', async () => {
    upstream.script({ text: 'x', usage: { input: 100, output: 40, cached: 64, reasoning: 30 } });
    expect(lastUsage(await collect(rig.provider('openai'), ask()))).to.deep.equal({
      inputTokens: 100,
      outputTokens: 40,
      cachedInputTokens: 64,
      cacheWriteInputTokens: 0,
      reasoningTokens: 30,
    });
  });

  it('counts reasoning as output where the provider tells it in the total alone', async () => {
    const usage = { input: 100, output: 40, reasoning: 30, reasoningApart: true };
    for (const name of ['google', 'xai'] as const) {
      upstream.script({ text: 'x', usage });
      expect(lastUsage(await collect(rig.provider(name), ask()))).to.deep.equal({
        inputTokens: 100,
        outputTokens: 40,
        cachedInputTokens: 0,
        cacheWriteInputTokens: 0,
        reasoningTokens: 30,
      });
    }
  });

  it('reads token figures that come unasked on the last chunk, and does not ask where asking is an error', async () => {
    upstream.script({ text: 'x', usage: { input: 7, output: 3 } });
    const events = await collect(rig.provider('mistral'), ask());
    expect(upstream.requests[0]?.body).not.to.have.property('stream_options');
    expect(lastUsage(events)).to.include({ inputTokens: 7, outputTokens: 3 });
  });

  it('gives vendor fields of a call back to the provider that sent them, by position', async () => {
    const extra = { extra_content: { google: { thought_signature: 'c2ln' } } };
    upstream.script({ toolCalls: [{ name: 'clock' }, { name: 'weather', vendor: extra }] });
    const end = endOf(await collect(rig.provider('google'), ask({ tools: TOOLS })));
    const history = (name: 'google' | 'groq') =>
      collect(
        rig.provider(name),
        ask({
          messages: [
            user('Hi'),
            assistant(
              null,
              [
                { ...WEATHER, id: 'new-1', name: 'clock' },
                { ...WEATHER, id: 'new-2' },
              ],
              end?.providerData,
            ),
            result('new-1', 'clock', '12'),
            result('new-2', 'weather', 'sun'),
          ],
        }),
      );
    await history('google');
    await history('groq');
    const called = { type: 'function', function: { name: 'weather', arguments: '{"city":"Bern"}' } };
    const first = {
      id: 'new-1',
      type: 'function',
      function: { name: 'clock', arguments: '{"city":"Bern"}' },
    };
    expect(upstream.requests[1]?.body.messages).to.have.deep.nested.property('[1].tool_calls', [
      first,
      { ...extra, id: 'new-2', ...called },
    ]);
    expect(upstream.requests[2]?.body.messages).to.have.deep.nested.property('[1].tool_calls', [
      first,
      { id: 'new-2', ...called },
    ]);
  });

  for (const [name, returned] of [
    ['deepseek', true],
    ['moonshotai', true],
    ['openrouter', false],
  ] as const) {
    it(`${returned ? 'sends' : 'does not send'} the reasoning of a tool call back to ${name}`, async () => {
      upstream.script({ thinking: { text: 'hm', signature: '' }, toolCalls: [{ name: 'weather' }] });
      const events = await collect(rig.provider(name), ask({ tools: TOOLS }));
      expect(textOf(events)).to.equal('');
      const message = assistant(null, callsOf(events), endOf(events)?.providerData);
      await collect(
        rig.provider(name),
        ask({ messages: [user('Hi'), message, result('call_1', 'weather', 'sun')] }),
      );
      expect(JSON.stringify(upstream.requests[1]?.body).includes('"reasoning_content":"hm"')).to.equal(
        returned,
      );
    });
  }

  for (const name of [
    'openai',
    'google',
    'deepseek',
    'mistral',
    'moonshotai',
    'groq',
    'openrouter',
    'xai',
    'ollama',
  ] as const) {
    it(`reaches ${name} at its base URL and /chat/completions`, async () => {
      const events = await collect(rig.provider(name), ask());
      expect(textOf(events)).to.equal('Hello from upstream.');
      expect(upstream.requests[0]?.path).to.equal('/v1/chat/completions');
    });
  }

  it('keeps connections for the next call', async () => {
    for (let round = 0; round < 10; round += 1) await collect(rig.provider('openai'), ask());
    // A call that follows at once may find the connection not yet marked as free.
    expect(upstream.connections).to.be.at.most(2);
  });
});
