import { expect } from 'chai';
import type { BegunTurn, Page, TenantStore, ToolCall, TurnSize } from '../../tenant-schema/store.ts';
import { CANCELLED_CONTENT } from '../../tenant-schema/tool-calls.ts';
import { faultOfSync } from '../support/faults.ts';
import { fileOf, forge } from '../support/tenant-files.ts';
import {
  answered,
  begin,
  chat,
  configContent,
  DEMAND,
  failed,
  figures,
  startEngine,
  type TestEngine,
  turnRequest,
} from '../support/tenants.ts';

const firstPage = { limit: 100, cursor: null };
const call = (id: string, name = 'read_file'): ToolCall => ({ id, name, arguments: { path: '/' } });

describe('turns of a tenant', () => {
  let world: TestEngine;
  let tenant: string;
  let configId: string;
  const use = <T>(work: (store: TenantStore) => T): Promise<T> => world.engine.use(tenant, work);

  beforeEach(async () => {
    world = startEngine();
    tenant = await world.tenant();
    configId = (await use((store) => store.createConfig(configContent()))).id;
  });
  afterEach(() => world.stop());

  /** A conversation that waits for the results of these calls. */
  const withOpenCalls = (store: TenantStore, calls: ToolCall[]): BegunTurn => {
    const turn = begin(store, turnRequest(configId, 'go'));
    store.finishTurn(turn, answered(turn, null, calls));
    return turn;
  };
  const texts = (turn: BegunTurn): (string | null)[] =>
    [...turn.history, ...turn.input].map(({ role, content }) => `${role}: ${content}`);

  it('gives each turn the whole history, in order', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'one', 'first');
      chat(store, configId, 'two', 'second', { conversationId });
      const third = begin(store, turnRequest(configId, 'three', { conversationId }));
      expect(texts(third)).to.deep.equal([
        'user: one',
        'assistant: first',
        'user: two',
        'assistant: second',
        'user: three',
      ]);
    });
  });

  it('lets one turn at a time have a conversation', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'one', 'first');
      const running = begin(store, turnRequest(configId, 'two', { conversationId }));
      expect(store.getConversation(conversationId).status).to.equal('busy');
      const again = () => begin(store, turnRequest(configId, 'three', { conversationId }));
      expect(faultOfSync(again).code).to.equal('conversation_busy');
      store.finishTurn(running, answered(running, 'second'));
      expect(store.getConversation(conversationId).status).to.equal('idle');
      expect(texts(again()).at(-1)).to.equal('user: three');
    });
  });

  it('leaves a conversation as it was when a turn fails, and a row in the log', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'one', 'first', { user: 'u-1', metadata: { a: 1 } });
      const before = store.getConversation(conversationId);
      world.clock.advance(50);
      const turn = begin(
        store,
        turnRequest(configId, 'two', { conversationId, user: 'u-2', metadata: { b: 2 } }),
      );
      expect(store.failTurn(turn, failed)).to.equal(true);
      expect(store.getConversation(conversationId)).to.deep.equal(before);
      expect(store.listMessages(conversationId, firstPage).data).to.have.length(2);
      expect(store.listLogs({}, firstPage).data[0]).to.include({
        id: turn.id,
        status: 'error',
        errorCode: 'upstream_unavailable',
        user: 'u-2',
      });
    });
  });

  it('leaves no conversation behind when the first turn of a new one fails', async () => {
    await use((store) => {
      const turn = begin(store, turnRequest(configId, 'one'));
      expect(store.getConversation(turn.conversationId).status).to.equal('busy');
      store.failTurn(turn, failed);
      expect(store.listConversations({}, firstPage).data).to.deep.equal([]);
    });
  });

  it('settles a turn once: a second end changes nothing', async () => {
    await use((store) => {
      const turn = chat(store, configId, 'one', 'first');
      expect(store.finishTurn(turn, answered(turn, 'again'))).to.equal(false);
      expect(store.failTurn(turn, failed)).to.equal(false);
      expect(store.getConversation(turn.conversationId).messageCount).to.equal(2);
      expect(store.listLogs({}, firstPage).data.map(({ status }) => status)).to.deep.equal(['ok']);
    });
  });

  it('keeps user and metadata on the conversation, replacing the one and merging the other', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'one', 'a', { user: 'u-1', metadata: { a: 1, b: 1 } });
      chat(store, configId, 'two', 'b', { conversationId, user: 'u-2', metadata: { b: null, c: 3 } });
      chat(store, configId, 'three', 'c', { conversationId });
      expect(store.getConversation(conversationId)).to.deep.include({
        user: 'u-2',
        metadata: { a: 1, c: 3 },
      });
      expect(store.listLogs({}, firstPage).data.map(({ user }) => user)).to.deep.equal(['u-2', 'u-2', 'u-1']);
    });
  });

  it('refuses a conversation under another config as one that does not exist', async () => {
    await use((store) => {
      const other = store.createConfig(configContent({ name: 'Other' }));
      const { conversationId } = chat(store, configId, 'one', 'first');
      const foreign = faultOfSync(() => begin(store, turnRequest(other.id, 'x', { conversationId })));
      const missing = faultOfSync(() =>
        begin(store, turnRequest(other.id, 'x', { conversationId: world.ids() })),
      );
      expect([foreign.code, foreign.message]).to.deep.equal([missing.code, missing.message]);
    });
  });

  it('refuses a history over the bound before it reads it, and stores nothing', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'ä'.repeat(100), 'x'.repeat(100));
      const beginWith = (historyBytesMax: number) =>
        begin(store, turnRequest(configId, 'more', { conversationId, historyBytesMax }));
      expect(faultOfSync(() => beginWith(299)).code).to.equal('history_too_long');
      expect(store.getConversation(conversationId).status).to.equal('idle');
      expect(beginWith(300).history).to.have.length(2);
    });
  });

  it('stores nothing when the caller refuses the config', async () => {
    await use((store) => {
      const refuse = () => {
        throw new Error('refused');
      };
      expect(() => begin(store, turnRequest(configId, 'x', { admit: refuse }))).to.throw('refused');
      expect(store.listConversations({}, firstPage).data).to.deep.equal([]);
      expect(store.listLogs({}, firstPage).data).to.deep.equal([]);
    });
  });

  describe('with open tool calls', () => {
    it('takes the results of all calls, by id or by a name that fits one call', async () => {
      await use((store) => {
        const { conversationId } = withOpenCalls(store, [call('c1'), call('c2', 'write_file')]);
        expect(store.getConversation(conversationId).status).to.equal('awaiting_tools');
        const turn = begin(
          store,
          turnRequest(
            configId,
            {
              kind: 'tool_results',
              results: [
                { name: 'write_file', content: 'written', isError: true },
                { toolCallId: 'c1', content: 'read', isError: false },
              ],
            },
            { conversationId },
          ),
        );
        expect(turn.input).to.deep.equal([
          {
            role: 'tool',
            id: turn.input[0]?.id,
            toolCallId: 'c1',
            name: 'read_file',
            content: 'read',
            isError: false,
          },
          {
            role: 'tool',
            id: turn.input[1]?.id,
            toolCallId: 'c2',
            name: 'write_file',
            content: 'written',
            isError: true,
          },
        ]);
        store.finishTurn(turn, answered(turn, 'done'));
        expect(store.getConversation(conversationId)).to.include({ status: 'idle', messageCount: 5 });
      });
    });

    const ok = (toolCallId: string) => ({ toolCallId, content: 'ok', isError: false });
    const bad = {
      'a missing result': [ok('c1')],
      'an unknown id': [ok('c1'), ok('c2'), ok('c9')],
      'a doubled id': [ok('c1'), ok('c1'), ok('c2')],
      'a name that fits two calls': [{ name: 'read_file', content: '', isError: false }, ok('c2')],
      'a name that fits none': [{ name: 'nope', content: '', isError: false }, ok('c1'), ok('c2')],
      'neither id nor name': [{ content: '', isError: false }, ok('c2')],
    };
    for (const [what, results] of Object.entries(bad)) {
      it(`refuses ${what}, lists the open calls and stores nothing`, async () => {
        await use((store) => {
          const { conversationId } = withOpenCalls(store, [call('c1'), call('c2')]);
          const fault = faultOfSync(() =>
            begin(store, turnRequest(configId, { kind: 'tool_results', results }, { conversationId })),
          );
          expect(fault.code).to.equal('validation_failed');
          expect(fault.details.openCalls?.map(({ id }) => id)).to.deep.equal(['c1', 'c2']);
          expect(store.getConversation(conversationId)).to.include({
            status: 'awaiting_tools',
            messageCount: 2,
          });
        });
      });
    }

    it('refuses a plain message unless the calls are to be cancelled, which answers them first', async () => {
      await use((store) => {
        const { conversationId } = withOpenCalls(store, [call('c1'), call('c2')]);
        const fault = faultOfSync(() => begin(store, turnRequest(configId, 'hm', { conversationId })));
        expect(fault.code).to.equal('tool_results_pending');
        expect(fault.details.openCalls).to.deep.equal([call('c1'), call('c2')]);
        const sizes: object[] = [];
        const admit = (_: unknown, size: TurnSize) => {
          sizes.push(size);
          return DEMAND;
        };
        const input = { kind: 'message' as const, text: 'stop', cancelToolCalls: true };
        const turn = begin(store, turnRequest(configId, input, { conversationId, admit }));
        // What is added for the cancelled calls is paid for, too.
        expect(sizes[0]).to.include({
          inputMessages: turn.input.length,
          inputBytes: turn.input.reduce((bytes, { content }) => bytes + Buffer.byteLength(content ?? ''), 0),
        });
        expect(turn.input.map(({ role, content }) => [role, content])).to.deep.equal([
          ['tool', CANCELLED_CONTENT],
          ['tool', CANCELLED_CONTENT],
          ['user', 'stop'],
        ]);
      });
    });

    it('keeps the calls open when the turn that answered them fails', async () => {
      await use((store) => {
        const { conversationId } = withOpenCalls(store, [call('c1')]);
        const results = { kind: 'tool_results' as const, results: [ok('c1')] };
        const turn = begin(store, turnRequest(configId, results, { conversationId }));
        store.failTurn(turn, failed);
        expect(store.getConversation(conversationId).status).to.equal('awaiting_tools');
        expect(begin(store, turnRequest(configId, results, { conversationId })).input).to.have.length(1);
      });
    });

    it('refuses results where no call is open', async () => {
      await use((store) => {
        const { conversationId } = chat(store, configId, 'one', 'first');
        const results = { kind: 'tool_results' as const, results: [ok('c1')] };
        const fault = faultOfSync(() => begin(store, turnRequest(configId, results, { conversationId })));
        expect(fault.code).to.equal('validation_failed');
      });
    });
  });

  it('keeps the words of an answer that was broken off', async () => {
    await use((store) => {
      const turn = begin(store, turnRequest(configId, 'one'));
      const end = answered(turn, 'half an ans');
      const last = end.messages.at(-1);
      if (last?.role === 'assistant') last.status = 'incomplete';
      store.finishTurn(turn, { ...end, status: 'aborted', errorCode: 'client_closed_request' });
      const [message] = store.listMessages(turn.conversationId, firstPage).data;
      expect(message).to.include({ role: 'assistant', content: 'half an ans', status: 'incomplete' });
      expect(store.listLogs({ status: 'aborted' }, firstPage).data).to.have.length(1);
    });
  });

  it('closes the turns of a process that died as aborted, whenever the file is opened next', async () => {
    const [idle, fresh] = await use((store) => {
      const first = chat(store, configId, 'one', 'first');
      begin(store, turnRequest(configId, 'two', { conversationId: first.conversationId }));
      return [first.conversationId, begin(store, turnRequest(configId, 'new')).conversationId];
    });
    await world.engine.close();
    world = world.restart();
    await use((store) => {
      expect(store.getConversation(idle)).to.include({ status: 'idle', messageCount: 2 });
      expect(faultOfSync(() => store.getConversation(fresh)).code).to.equal('not_found');
      expect(store.listLogs({ status: 'aborted' }, firstPage).data).to.have.length(2);
      chat(store, configId, 'three', 'third', { conversationId: idle });
    });
  });

  it('frees a conversation whose turn was lost in this very process', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'one', 'first');
      const lost = begin(store, turnRequest(configId, 'two', { conversationId }));
      const turn = begin(
        store,
        turnRequest(configId, 'three', { conversationId, isRunning: (id) => id !== lost.id }),
      );
      expect(store.finishTurn(lost, answered(lost, 'late'))).to.equal(false);
      expect(store.finishTurn(turn, answered(turn, 'third'))).to.equal(true);
    });
  });

  it('closes a lost turn, with its row in the log, when its conversation is deleted', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, 'one', 'first');
      const lost = begin(store, turnRequest(configId, 'two', { conversationId }));
      store.deleteConversation(conversationId, () => false);
      expect(store.listLogs({ status: 'aborted' }, firstPage).data.map(({ id }) => id)).to.deep.equal([
        lost.id,
      ]);
      expect(faultOfSync(() => store.getConversation(conversationId)).code).to.equal('not_found');
    });
  });

  it('bounds the metadata that turn after turn adds to a conversation', async () => {
    await use((store) => {
      const add = (key: string, conversationId: string | null) =>
        chat(store, configId, 'x', 'y', { conversationId, metadata: { [key]: 'm'.repeat(10_000) } });
      const { conversationId } = add('a', null);
      const fault = faultOfSync(() => add('b', conversationId));
      expect(fault.details.errors?.[0]?.path).to.equal('metadata');
      expect(store.getConversation(conversationId)).to.include({ messageCount: 2, status: 'idle' });
    });
  });

  it('ends a page of messages early where they are large, and goes on after it', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, '1'.repeat(3_000_000), '2'.repeat(3_000_000));
      chat(store, configId, '3', '4', { conversationId, historyBytesMax: 10_000_000 });
      const pages: (string | undefined)[][] = [];
      let cursor: string | null = null;
      do {
        const page = store.listMessages(conversationId, { limit: 100, cursor });
        pages.push(page.data.map(({ content }) => content?.[0]));
        cursor = page.nextCursor;
      } while (cursor !== null);
      expect(pages).to.deep.equal([['4', '3', '2'], ['1']]);
    });
  });

  it('does not delete a conversation under a running turn', async () => {
    await use((store) => {
      const turn = begin(store, turnRequest(configId, 'one'));
      const remove = () => store.deleteConversation(turn.conversationId, () => true);
      expect(faultOfSync(remove).code).to.equal('conversation_busy');
      store.finishTurn(turn, answered(turn, 'first'));
      remove();
      expect(faultOfSync(() => store.getConversation(turn.conversationId)).code).to.equal('not_found');
      expect(faultOfSync(() => store.listMessages(turn.conversationId, firstPage)).code).to.equal(
        'not_found',
      );
      expect(store.listLogs({ conversationId: turn.conversationId }, firstPage).data).to.have.length(1);
    });
  });

  it('reads messages newest first, page by page', async () => {
    await use((store) => {
      const { conversationId } = chat(store, configId, '1', '2');
      chat(store, configId, '3', '4', { conversationId });
      const first = store.listMessages(conversationId, { limit: 3, cursor: null });
      const second = store.listMessages(conversationId, { limit: 3, cursor: first.nextCursor });
      expect([...first.data, ...second.data].map(({ content }) => content)).to.deep.equal([
        '4',
        '3',
        '2',
        '1',
      ]);
      expect(second.nextCursor).to.equal(null);
    });
  });

  it('finds conversations by a part of their title, page by page, and looks at so many for one page', async () => {
    await use((store) => {
      const titled = (title: string) => {
        const { conversationId } = chat(store, configId, 'x', 'y');
        store.updateConversation(conversationId, { title });
        world.clock.advance(1000);
        return conversationId;
      };
      const old = titled('Invoice of May');
      titled('Weather');
      const late = titled('Where is my invoice?');
      const find = (search: string, page: Page = firstPage) => store.listConversations({ search }, page);
      expect(find('INVOICE').data.map(({ id }) => id)).to.deep.equal([late, old]);
      expect(find('of_May').data).to.deep.equal([]);
      const { data, nextCursor } = find('invoice', { limit: 1, cursor: null });
      expect(data.map(({ id }) => id)).to.deep.equal([late]);
      expect(find('invoice', { limit: 1, cursor: nextCursor }).data.map(({ id }) => id)).to.deep.equal([old]);
    });
    await world.engine.quiesce(tenant);
    const ids = Array.from({ length: 6_000 }, () => world.ids());
    forge(fileOf(world, tenant), (db) => {
      const copy = db.prepare(
        `INSERT INTO conversations SELECT ?, config_id, 'New', user, metadata, message_count, history_bytes,
           awaiting_tools, created_at, updated_at FROM conversations ORDER BY id LIMIT 1`,
      );
      db.transaction(() => {
        for (const id of ids) copy.run(id);
      })();
    });
    await use((store) => {
      const first = store.listConversations({ search: 'invoice' }, firstPage);
      expect(first.data).to.deep.equal([]);
      expect(first.nextCursor).to.not.equal(null);
      const { data, nextCursor } = store.listConversations(
        { search: 'invoice' },
        { ...firstPage, cursor: first.nextCursor },
      );
      expect(data).to.have.length(2);
      expect(nextCursor).to.equal(null);
    });
  });

  it('filters conversations by config and user, and logs by each of their filters', async () => {
    await use((store) => {
      const other = store.createConfig(configContent({ name: 'Other' })).id;
      const a = chat(store, configId, 'x', 'y', { user: 'u-1' });
      world.clock.advance(1000);
      const b = chat(store, other, 'x', 'y', { user: 'u-2' });
      world.clock.advance(1000);
      const c = begin(store, turnRequest(other, 'x', { user: 'u-1', conversationId: b.conversationId }));
      store.failTurn(c, failed);

      const conversations = (filter: object) =>
        store.listConversations(filter, firstPage).data.map(({ id }) => id);
      expect(conversations({ configId: other })).to.deep.equal([b.conversationId]);
      expect(conversations({ user: 'u-1' })).to.deep.equal([a.conversationId]);
      expect(conversations({ configId: other, user: 'u-1' })).to.deep.equal([]);

      const logs = (filter: object) => store.listLogs(filter, firstPage).data.map(({ id }) => id);
      expect(logs({})).to.deep.equal([c.id, b.id, a.id]);
      expect(logs({ configId: other })).to.deep.equal([c.id, b.id]);
      expect(logs({ conversationId: a.conversationId })).to.deep.equal([a.id]);
      expect(logs({ user: 'u-1' })).to.deep.equal([c.id, a.id]);
      expect(logs({ status: 'error' })).to.deep.equal([c.id]);
      expect(logs({ status: 'ok' })).to.deep.equal([b.id, a.id]);
      expect(logs({ since: b.createdAt })).to.deep.equal([c.id, b.id]);
      expect(logs({ until: b.createdAt })).to.deep.equal([a.id]);
      expect(logs({ since: b.createdAt, until: c.createdAt, user: 'u-2' })).to.deep.equal([b.id]);
    });
  });

  it('sums usage by day, model and config over exactly the rows of the range', async () => {
    await use((store) => {
      const other = store.createConfig(
        configContent({ name: 'Other', modelConfig: { provider: 'demo', model: 'demo-2' } }),
      ).id;
      chat(store, configId, 'x', 'y');
      const second = begin(store, turnRequest(other, 'x'));
      store.failTurn(second, { ...failed, costMicroUsd: 7 });
      world.clock.advance(24 * 3600 * 1000);
      const third = chat(store, other, 'x', 'y');

      const usage = {
        inputTokens: 10,
        outputTokens: 4,
        cachedInputTokens: 2,
        cacheWriteInputTokens: 0,
        reasoningTokens: 0,
      };
      expect(store.sumUsage('day', {}, firstPage).data).to.deep.equal([
        { key: '2026-01-16', turns: 1, errors: 0, usage: figures.usage, costMicroUsd: null },
        // One of the two has no known cost, so that 7 would be too little.
        { key: '2026-01-15', turns: 2, errors: 1, usage, costMicroUsd: null },
      ]);
      expect(store.sumUsage('model', {}, firstPage).data.map(({ key, turns }) => [key, turns])).to.deep.equal(
        [
          ['demo-1', 1],
          ['demo-2', 2],
        ],
      );
      const byConfig = store.sumUsage('config', { since: third.createdAt }, firstPage).data;
      expect(byConfig.map(({ key, turns }) => [key, turns])).to.deep.equal([[other, 1]]);
      const paged = store.sumUsage('day', {}, { limit: 1, cursor: null });
      expect(store.sumUsage('day', {}, { limit: 1, cursor: paged.nextCursor }).data[0]?.key).to.equal(
        '2026-01-15',
      );
    });
  });
});
