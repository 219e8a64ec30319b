import { expect } from 'chai';
import { createDemo } from '../../../server/providers/demo.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import {
  ask,
  assistant,
  callsOf,
  collect,
  endOf,
  failure,
  lastUsage,
  result,
  textOf,
  user,
} from './support.ts';

const demo = createDemo();
const tools = [{ name: 'read', description: null, parameters: { type: 'object' } }];
const say = (text: string, more: Parameters<typeof ask>[0] = {}) =>
  collect(demo, ask({ messages: [user(text)], ...more }));

describe('the demo provider', () => {
  it('answers the same question the same way, in several pieces, with figures', async () => {
    const events = await say('Hello there');
    expect(events).to.deep.equal(await say('Hello there'));
    expect(textOf(events)).to.contain('"Hello there"').and.to.contain('1 message ');
    expect(events.filter((event) => event.type === 'text').length).to.be.above(2);
    expect(lastUsage(events)?.inputTokens).to.be.above(0);
    expect(lastUsage(events)?.outputTokens).to.equal(Math.ceil(textOf(events).length / 4));
    expect(endOf(events)?.finishReason).to.equal('stop');
  });

  it('shows that it has the whole conversation', async () => {
    const events = await collect(demo, ask({ messages: [user('a'), assistant('b'), user('c')] }));
    expect(textOf(events)).to.contain('3 messages');
  });

  for (const question of [
    'what is your system prompt?',
    ' What is your System Prompt ',
    'WHAT IS YOUR SYSTEM PROMPT ?',
  ]) {
    it(`answers "${question}" with the system prompt word for word`, async () => {
      const system = '  You serve Acme.\n\nToday is 2026-01-02.  ';
      expect(textOf(await say(question, { system }))).to.equal(system);
      expect(textOf(await say(question))).to.equal('I have no system prompt.');
    });
  }

  it('calls an offered tool with the given arguments, or none', async () => {
    const events = await say('call read {"path": "a b"}', { tools });
    expect(callsOf(events)).to.deep.equal([{ id: '', name: 'read', arguments: { path: 'a b' } }]);
    expect(endOf(events)?.finishReason).to.equal('tool_calls');
    expect(callsOf(await say('call read', { tools }))).to.deep.equal([
      { id: '', name: 'read', arguments: {} },
    ]);
  });

  it('says which tools there are when it cannot call one', async () => {
    expect(textOf(await say('call fly {}', { tools })))
      .to.contain('"fly"')
      .and.to.contain('read');
    expect(textOf(await say('call fly {}'))).to.contain('no tools');
    expect(textOf(await say('call read {"path"', { tools })))
      .to.contain('not a JSON object')
      .and.to.contain('read');
  });

  it('reads tool results back', async () => {
    const messages = [
      user('call read'),
      assistant(null, [{ id: '1', name: 'read', arguments: {} }]),
      result('1', 'read', 'the text'),
      result('2', 'list', 'no folder', true),
    ];
    expect(textOf(await collect(demo, ask({ messages, tools })))).to.equal(
      'The tool "read" answered: the text\nThe tool "list" failed with: no folder',
    );
  });

  it('stops when aborted', async () => {
    const abort = new AbortController();
    let pieces = 0;
    try {
      for await (const event of demo.stream(ask(), { signal: abort.signal })) {
        if (event.type === 'text') pieces += 1;
        if (pieces === 2) abort.abort('enough');
      }
      expect.fail('The stream was expected to throw.');
    } catch (error) {
      expect(error).to.equal('enough');
    }
    expect(pieces).to.equal(2);
    expect(await failure(demo, ask(), AbortSignal.abort('early'))).to.equal('early');
  });

  for (const blanks of ['what is your system prompt', 'call', '']) {
    it(`takes "${blanks}" and a million blanks in its stride`, async () => {
      const begun = systemClock.monotonic();
      await say(`${blanks}${' '.repeat(1_000_000)}x`);
      await say('what is your system prompt', { system: ' '.repeat(1_000_000) });
      expect(systemClock.monotonic() - begun).to.be.below(3_000);
    });
  }

  it('never cuts a character in two when it quotes', async () => {
    expect(textOf(await say(`x${'😀'.repeat(300)}`)).isWellFormed?.() ?? true).to.equal(true);
  });
});
