import { expect } from 'chai';
import type { JsonObject, ProviderData, ToolCall } from '../../../tenant-schema/store.ts';
import { type Answer, startUpstream, type Upstream } from '../../support/upstream.ts';
import {
  ask,
  assistant,
  callsOf,
  collect,
  endOf,
  type Rig,
  result,
  rigFor,
  textOf,
  user,
} from './support.ts';

describe('an answer with thinking between its parts', () => {
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

  const thinking = (text: string) => ({ thinking: { text, signature: `sig-${text}` } });
  const signed = (text: string) => ({ type: 'thinking', thinking: text, signature: `sig-${text}` });
  const interleaved = [
    thinking('one'),
    { text: 'First 😀.' },
    thinking('two'),
    { toolCall: { name: 'read', arguments: { path: 'a' } } },
    { redactedThinking: 'b3BhcXVl' },
    { text: ' \n' },
    { text: 'Then.' },
    { toolCall: { name: 'functions.list' } },
  ];

  /** What the provider is sent of an answer that the turn has stored, as it was or otherwise. */
  const replayed = async (
    blocks: NonNullable<Answer['blocks']>,
    change: (stored: { text: string; calls: ToolCall[]; data: ProviderData | null | undefined }) => void,
  ) => {
    upstream.script({ blocks });
    const events = await collect(rig.provider('anthropic'), ask());
    const stored = { text: textOf(events), calls: callsOf(events), data: endOf(events)?.providerData };
    change(stored);
    // As the store gives it back.
    const data = JSON.parse(JSON.stringify(stored.data ?? null));
    const body = await bodyFor({
      messages: [
        user('Hi'),
        assistant(stored.text, stored.calls, data),
        ...stored.calls.map((call) => result(call.id, call.name, 'x')),
        user('Go on'),
      ],
    });
    return (body?.messages as { content: JsonObject[] }[] | undefined)?.[1]?.content;
  };

  it('is sent back in its order, with the ids that the turn gave its calls', async () => {
    const content = await replayed(interleaved, (stored) => {
      stored.calls = stored.calls.map((call, at) => ({ ...call, id: `new.${at}` }));
    });
    const [first, second] = (content ?? []).filter((block) => block.type === 'tool_use');
    expect(first?.id).to.match(/^call_[A-Za-z0-9]+$/);
    expect(second?.id)
      .to.match(/^call_[A-Za-z0-9]+$/)
      .and.not.to.equal(first?.id);
    expect(content).to.deep.equal([
      signed('one'),
      { type: 'text', text: 'First 😀.' },
      signed('two'),
      { type: 'tool_use', id: first?.id, name: 'read', input: { path: 'a' } },
      { type: 'redacted_thinking', data: 'b3BhcXVl' },
      { type: 'text', text: 'Then.' },
      { type: 'tool_use', id: second?.id, name: 'functions_list', input: {} },
    ]);
  });

  it('is sent back without thinking that nothing follows', async () => {
    const content = await replayed([thinking('one'), { text: 'Done.' }, thinking('two')], () => {});
    expect(content).to.deep.equal([signed('one'), { type: 'text', text: 'Done.' }]);
  });

  const others: [string, Parameters<typeof replayed>[1]][] = [
    ['whose text is another one', (stored) => (stored.text = 'Short.')],
    ['whose calls are fewer', (stored) => stored.calls.pop()],
    [
      'of which the thinking alone was kept',
      (stored) => {
        const data = {
          thinking: [signed('one'), signed('two'), { type: 'redacted_thinking', data: 'b3BhcXVl' }],
        };
        stored.data = { provider: 'anthropic', data };
      },
    ],
  ];
  for (const [what, change] of others) {
    it(`is sent back with all thinking first where it is one ${what}`, async () => {
      const content = await replayed(interleaved, change);
      const types = content?.map((block) => block.type).join(' ');
      expect(types).to.match(/^thinking thinking redacted_thinking text tool_use( tool_use)?$/);
      expect(content?.slice(0, 2)).to.deep.equal([signed('one'), signed('two')]);
    });
  }

  it('is sent to another provider of the format without it', async () => {
    const content = await replayed(interleaved, (stored) => {
      stored.data = { ...(stored.data as ProviderData), provider: 'other' };
    });
    expect(content?.map((block) => block.type)).to.deep.equal(['text', 'tool_use', 'tool_use']);
  });
});
