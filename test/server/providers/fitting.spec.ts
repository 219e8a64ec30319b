import { expect } from 'chai';
import type { ProviderName } from '../../../server/providers/catalogue.ts';
import { startUpstream, type Upstream } from '../../support/upstream.ts';
import { ask, assistant, collect, type Rig, result, rigFor, user } from './support.ts';

const WEATHER = { id: 'call_1', name: 'weather', arguments: { city: 'Bern' } };
const READ = { id: 'toolu_1', name: 'read', arguments: { path: 'a' } };

describe('what a provider would refuse in a history', () => {
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

  /** The ids of two calls and their results as they are sent to a provider. */
  const sentIds = async (name: ProviderName, ids: [string, string]) => {
    const calls = ids.map((id) => ({ ...WEATHER, id }));
    const results = ids.map((id) => result(id, 'weather', 'sun'));
    await collect(rig.provider(name), ask({ messages: [user('Hi'), assistant(null, calls), ...results] }));
    const body = JSON.stringify(upstream.requests.at(-1)?.body);
    return [...body.matchAll(/"(?:tool_call_|tool_use_)?id":"([^"]*)"/g)].map((match) => match[1] ?? '');
  };

  const LONG = 'x'.repeat(40);
  const fits: [ProviderName, [string, string], RegExp][] = [
    ['openai', [`${LONG}a`, `${LONG}b`], /^[A-Za-z0-9_-]{1,40}$/],
    ['groq', ['functions.read:0', 'functions:read.0'], /^[A-Za-z0-9_-]{1,40}$/],
    ['anthropic', ['a.b:c', 'a:b.c'], /^[A-Za-z0-9_-]{1,40}$/],
    ['mistral', ['call_1', 'call_2'], /^[A-Za-z0-9]{9}$/],
    ['mistral', [`${LONG}a`, `${LONG}b`], /^[A-Za-z0-9]{9}$/],
  ];
  for (const [name, ids, form] of fits) {
    it(`makes ids such as ${ids[0]} fit for ${name}, the call and its result alike, always the same`, async () => {
      const sent = await sentIds(name, ids);
      expect(sent).to.have.length(4);
      for (const id of sent) expect(id).to.match(form);
      expect(sent.slice(2)).to.deep.equal(sent.slice(0, 2));
      expect(sent[0]).not.to.equal(sent[1]);
      expect(await sentIds(name, ids)).to.deep.equal(sent);
    });
  }

  for (const [name, ids] of [
    ['openai', ['x'.repeat(40), 'call_-1']],
    ['anthropic', ['toolu_01', 'call-1']],
    ['mistral', ['Ab3dEf7h9', '012345678']],
    ['moonshotai', ['functions.read:0', 'functions.read:1']],
  ] as const) {
    it(`leaves ids as they are that fit for ${name}`, async () => {
      expect(await sentIds(name, [...ids])).to.deep.equal([...ids, ...ids]);
    });
  }

  it('puts a word between a cancelled call and a message where the provider wants one', async () => {
    const messages = [
      user('Hi'),
      assistant(null, [WEATHER]),
      result(WEATHER.id, 'weather', 'no'),
      user('Stop'),
    ];
    const rolesFor = async (name: 'mistral' | 'openai') => {
      await collect(rig.provider(name), ask({ messages }));
      const sent = upstream.requests.at(-1)?.body.messages as { role: string }[] | undefined;
      return sent?.map(({ role }) => role);
    };
    expect(await rolesFor('openai')).to.deep.equal(['user', 'assistant', 'tool', 'user']);
    expect(await rolesFor('mistral')).to.deep.equal(['user', 'assistant', 'tool', 'assistant', 'user']);
  });

  it('makes the name of a tool that the model invented fit', async () => {
    const names = ['functions.read_file', 'ж'.repeat(70), 'weather'];
    const calls = names.map((name, at) => ({ ...WEATHER, id: `call_${at}`, name }));
    const results = calls.map(({ id, name }) => result(id, name, 'sun'));
    await collect(
      rig.provider('openai'),
      ask({ messages: [user('Hi'), assistant(null, calls), ...results] }),
    );
    const sent = JSON.stringify(upstream.requests[0]?.body).matchAll(/"name":"([^"]*)"/g);
    expect([...sent].map((match) => match[1])).to.deep.equal([
      'functions_read_file',
      '_'.repeat(64),
      'weather',
    ]);
  });

  const bodyFor = async (more: Parameters<typeof ask>[0]) => {
    await collect(rig.provider('anthropic'), ask(more));
    return upstream.requests.at(-1)?.body;
  };

  it('makes the names of tools that the model invented fit, in the history and in the stubs', async () => {
    const calls = ['functions.read', 'functions:read', 'ж'.repeat(70)].map((name, at) => ({
      ...READ,
      id: `toolu_${at}`,
      name,
    }));
    const results = calls.map(({ id, name }) => result(id, name, ''));
    const body = await bodyFor({ messages: [user('Hi'), assistant(null, calls), ...results] });
    const sent = [...JSON.stringify(body?.messages).matchAll(/"name":"([^"]*)"/g)].map((match) => match[1]);
    expect(sent).to.deep.equal(['functions_read', 'functions_read', '_'.repeat(64)]);
    expect(body?.tools).to.deep.equal([
      { name: 'functions_read', input_schema: { type: 'object' } },
      { name: '_'.repeat(64), input_schema: { type: 'object' } },
    ]);
  });
});
