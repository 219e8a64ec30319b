import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { TenantStore } from '../../tenant-schema/store.ts';
import { answered, begin, chat, configContent, failed, type TestEngine, turnRequest } from './tenants.ts';

export const fileOf = (world: TestEngine, id: string): string => join(world.folder, `${id}.db`);

/** The hash of a file that nobody has open. */
export const hashOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

/** What lies beside a database, or is under construction, that should not be there. */
export const leftovers = (world: TestEngine): string[] => [
  ...readdirSync(join(world.folder, '.creating')).map((name) => `.creating/${name}`),
  ...readdirSync(world.folder).filter((name) => name !== '.creating' && !name.endsWith('.db')),
];

/** What lies beside the file at `path` under its name. */
export const companionsOf = (path: string): string[] =>
  ['-wal', '-shm', '-journal'].filter((suffix) => existsSync(path + suffix));

/** Changes a closed file as somebody else's program would. */
export function forge(path: string, change: string | ((db: Database.Database) => void)): void {
  const db = new Database(path);
  try {
    // One file, whatever happens to it next.
    db.pragma('journal_mode = DELETE');
    db.pragma('foreign_keys = OFF');
    db.unsafeMode(true);
    db.pragma('writable_schema = ON');
    db.pragma('ignore_check_constraints = ON');
    if (typeof change === 'string') db.exec(change);
    else change(db);
  } finally {
    db.close();
  }
}

/** One value out of a closed file. */
export function ask(path: string, sql: string): unknown {
  const db = new Database(path, { fileMustExist: true });
  try {
    return db.prepare(sql).pluck().get();
  } finally {
    db.close();
  }
}

/** A bit of everything: configs with versions, one of them deleted; calls that were answered, cancelled and left open; ends of all kinds; a turn that still runs. */
export function fill(store: TenantStore): void {
  const config = store.createConfig(configContent({ name: 'Editor', toolsConfig: ['save'] }));
  store.updateConfig(config.id, { systemPrompt: 'You are {agent_name}. ✓', metadata: { tier: 'pro' } });
  store.rollbackConfig(config.id, 1);
  const other = store.createConfig(configContent({ name: 'Söhne 🚀' }));
  const gone = store.createConfig(configContent({ name: 'Gone' }));
  chat(store, gone.id, 'hello', 'world', { user: 'u-1' });
  store.deleteConfig(gone.id);

  const { conversationId } = chat(store, config.id, 'one', 'two', { user: 'ü-2', metadata: { a: 1 } });
  store.updateConversation(conversationId, { title: 'A title', metadata: { b: [null, 'x'] } });
  const calling = begin(store, turnRequest(config.id, 'save it', { conversationId }));
  const calls = ['call_1', 'call_2'].map((id) => ({ id, name: 'save', arguments: { path: '/x' } }));
  const end = answered(calling, null, calls);
  store.finishTurn(calling, { ...end, costMicroUsd: 42, usageEstimated: true });
  const results = calls.map(({ id }) => ({ toolCallId: id, content: '', isError: id === 'call_2' }));
  const answering = begin(
    store,
    turnRequest(config.id, { kind: 'tool_results', results }, { conversationId }),
  );
  store.finishTurn(answering, answered(answering, 'saved'));

  const waiting = begin(store, turnRequest(other.id, 'call again'));
  store.finishTurn(waiting, answered(waiting, 'calling', calls.slice(0, 1)));
  const broken = begin(store, turnRequest(other.id, 'fails', { user: 'u-1' }));
  store.failTurn(broken, failed);
  const partial = begin(store, turnRequest(other.id, 'cut off'));
  const cut = answered(partial, 'half an ans');
  store.finishTurn(partial, { ...cut, status: 'aborted', errorCode: 'client_closed_request' });
}

const pages = <T>(
  list: (page: { limit: number; cursor: string | null }) => { data: T[]; nextCursor: string | null },
): T[] => {
  const found: T[] = [];
  let cursor: string | null = null;
  do {
    const { data, nextCursor }: { data: T[]; nextCursor: string | null } = list({ limit: 7, cursor });
    found.push(...data);
    cursor = nextCursor;
  } while (cursor !== null);
  return found;
};

/** What every reading verb answers. */
export function readAll(store: TenantStore) {
  const configs = pages((page) => store.listConfigs(page));
  const conversations = pages((page) => store.listConversations({}, page));
  return {
    configs: configs.map(({ id }) => store.getConfig(id)),
    versions: configs.map(({ id }) => pages((page) => store.listConfigVersions(id, page))),
    conversations: conversations.map(({ id }) => store.getConversation(id)),
    messages: conversations.map(({ id }) => pages((page) => store.listMessages(id, page))),
    byUser: pages((page) => store.listConversations({ user: 'u-1' }, page)),
    logs: pages((page) => store.listLogs({}, page)),
    notOk: pages((page) => store.listLogs({ status: 'error' }, page)),
    usage: (['day', 'model', 'config'] as const).map((by) => pages((page) => store.sumUsage(by, {}, page))),
  };
}

/** Every verb works: what is there can be read, gone on with and removed. */
export function useAll(store: TenantStore): void {
  readAll(store);
  const config = store.createConfig(configContent({ name: 'made afterwards' }));
  const { conversationId } = chat(store, config.id, 'hello', 'there');
  for (const { id, configId } of pages((page) => store.listConversations({}, page))) {
    store.updateConversation(id, { title: 'renamed', metadata: { seen: true } });
    if (pages((page) => store.listConfigs(page)).some((known) => known.id === configId)) {
      const input = { kind: 'message' as const, text: 'and now?', cancelToolCalls: true };
      const turn = begin(store, turnRequest(configId, input, { conversationId: id, historyBytesMax: 1e9 }));
      store.finishTurn(turn, answered(turn, 'so it is'));
    }
  }
  store.deleteConversation(conversationId, () => false);
  for (const { id } of pages((page) => store.listConfigs(page))) {
    store.updateConfig(id, { systemPrompt: 'changed' });
    store.rollbackConfig(id, 1);
  }
  store.deleteConfig(config.id);
  store.setTenantName('Renamed');
}

/** The processes that work on files for this one. */
export function fileWorkers(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const [, , ppid] = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/\(.*\)/, '()')
          .split(' ')
          .slice(1);
        return Number(ppid) === process.pid && readFileSync(`/proc/${pid}/cmdline`).includes('file-jobs');
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Adds one conversation of many messages to a closed file: `bytes` of them, quicker than by turns. */
export function grow(path: string, bytes: number): void {
  const text = 'lorem ipsum '.repeat(800);
  forge(path, (db) => {
    db.prepare(
      `INSERT INTO conversations (id, config_id, metadata, message_count, history_bytes, awaiting_tools, created_at, updated_at)
       VALUES ('019bbbbb-0000-7000-8000-000000000000', '019bbbbb-0000-7000-8000-000000000001', '{}', @count, @bytes, 0, 1, 1)`,
    ).run({ count: Math.ceil(bytes / text.length), bytes });
    db.prepare(
      `WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < @count)
       INSERT INTO messages (conversation_id, seq, id, role, content, is_error, status, created_at)
       SELECT '019bbbbb-0000-7000-8000-000000000000', seq, printf('019bbbbb-0000-7000-9000-%012x', seq), 'user', @text, 0, 'complete', 1
       FROM n`,
    ).run({ count: Math.ceil(bytes / text.length), text });
  });
}

/** Waits until `seen` holds; each look is a turn of the event loop. */
export async function until(seen: () => boolean): Promise<void> {
  while (!seen()) await new Promise((resolve) => setImmediate(resolve));
}
