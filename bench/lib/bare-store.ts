import { closeSync, fdatasync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { bareTables, type Layout } from './bare-tables.ts';

// What a turn reads and writes, by hand: prepared statements, two transactions.

export interface BareConfig {
  version: number;
  systemPrompt: string;
  modelConfig: string;
}

export interface BareTurn {
  id: string;
  requestId: string;
  configId: string;
  /** Null begins a new conversation. */
  conversationId: string | null;
  at: number;
}

export interface BareBegun {
  config: BareConfig;
  conversationId: string;
  messageCount: number;
  history: { role: string; content: string }[];
}

export interface BareEnd {
  userMessage: string;
  userMessageId: string;
  answer: string;
  answerId: string;
  model: string;
  inputTokens: number;
  outputTokens: number;
  at: number;
  day: string;
}

export interface BareTenant {
  putConfig(id: string, config: BareConfig): void;
  /** One transaction: the config, the history, the conversation taken. Null where one of them is missing or taken. */
  begin(turn: BareTurn, newConversationId: string): BareBegun | null;
  /** One transaction: both messages, the log row, the sums of the day, the conversation given back. */
  finish(turn: BareTurn, begun: BareBegun, end: BareEnd): void;
  /** Resolves when everything committed before the call would survive a power cut. */
  durable(): Promise<void>;
}

export interface BareStore {
  /** A tenant whose file stays open. */
  tenant(tenantId: string): BareTenant;
  /** Runs work for a tenant whose file is open until it is done, at least. */
  use<T>(tenantId: string, work: (tenant: BareTenant) => Promise<T>): Promise<T>;
  close(): void;
}

interface Opened {
  tenant: BareTenant;
  holders: number;
  close(): void;
}

/**
 * Opens, and where they are missing makes, the tenants' databases in a folder.
 * @param openMax so many files are open at most, but for those in use; the one that was used last is closed last
 */
export function openBareStore(folder: string, layout: Layout, openMax = Number.POSITIVE_INFINITY): BareStore {
  mkdirSync(folder, { recursive: true });
  /** In the order in which they were used. */
  const tenants = new Map<string, Opened>();
  const open = (name: string): BareFile => {
    const path = join(folder, `${name}.db`);
    const db = openBareDatabase(path, layout);
    return { db, ...sharedSync(`${path}-wal`) };
  };
  const shared = layout === 'shared' ? open('shared') : null;

  const openTenant = (tenantId: string): Opened => {
    if (shared) return { tenant: bareTenant(shared, tenantId), holders: 0, close: () => {} };
    const file = open(tenantId);
    return { tenant: bareTenant(file, null), holders: 0, close: () => closeFile(file) };
  };
  const makeRoom = (): void => {
    for (const [tenantId, { holders, close }] of tenants) {
      if (tenants.size <= openMax) return;
      if (holders > 0) continue;
      tenants.delete(tenantId);
      close();
    }
  };
  const opened = (tenantId: string): Opened => {
    const found = tenants.get(tenantId) ?? openTenant(tenantId);
    tenants.delete(tenantId);
    tenants.set(tenantId, found);
    return found;
  };
  return {
    tenant: (tenantId) => opened(tenantId).tenant,
    async use(tenantId, work) {
      const found = opened(tenantId);
      found.holders += 1;
      makeRoom();
      try {
        return await work(found.tenant);
      } finally {
        found.holders -= 1;
      }
    },
    close() {
      for (const { close } of tenants.values()) close();
      if (shared) closeFile(shared);
    },
  };
}

/** Opens one of these databases as the server opens its own; makes its tables where it is new. */
export function openBareDatabase(path: string, layout: Layout): Database.Database {
  const db = new Database(path, { timeout: 5_000 });
  db.pragma('synchronous = NORMAL');
  db.pragma('journal_mode = WAL');
  // One file that is shared may have for itself what 32 files would have together.
  db.pragma(`cache_size = ${layout === 'shared' ? -64_000 : -2_000}`);
  db.pragma('temp_store = MEMORY');
  db.transaction(() => {
    const isNew = db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get() === undefined;
    if (isNew) db.exec(bareTables(layout));
  }).immediate();
  return db;
}

interface BareFile {
  db: Database.Database;
  durable(): Promise<void>;
  /** When nobody waits for it any more. */
  endSyncs(): void;
}

function closeFile({ db, endSyncs }: BareFile): void {
  endSyncs();
  db.close();
}

/** Turns that wait at the same time share one sync; one that is under way does not cover a commit made after it began. */
function sharedSync(walPath: string): Pick<BareFile, 'durable' | 'endSyncs'> {
  let running: Promise<void> | null = null;
  let queued: Promise<void> | null = null;
  let file: number | null = null;
  const sync = (): Promise<void> =>
    new Promise((resolve, reject) => {
      file ??= openSync(walPath, 'r');
      fdatasync(file, (error) => (error ? reject(error) : resolve()));
    });
  const start = (): Promise<void> => {
    running = sync().finally(() => {
      running = null;
    });
    return running;
  };
  return {
    durable() {
      if (!running) return start();
      queued ??= running
        .catch(() => {})
        .then(() => {
          queued = null;
          return start();
        });
      return queued;
    },
    endSyncs() {
      if (file !== null) closeSync(file);
      file = null;
    },
  };
}

/** @param tenantId whose rows are meant where the file is shared; null where it is the tenant's own. */
function bareTenant({ db, durable }: BareFile, tenantId: string | null): BareTenant {
  // Every key and every row begins with the tenant where the file is shared.
  const own = tenantId === null ? [] : [tenantId];
  const where = tenantId === null ? '' : 'tenant_id = ? AND ';
  const column = tenantId === null ? '' : 'tenant_id, ';
  const value = tenantId === null ? '' : '?, ';

  const insertConfig = db.prepare(`INSERT INTO configs VALUES (${value}?, ?, ?, ?)`);
  const selectConfig = db.prepare<string[], BareConfig>(
    `SELECT version, system_prompt AS systemPrompt, model_config AS modelConfig FROM configs WHERE ${where}id = ?`,
  );
  const selectConversation = db.prepare<string[], { messageCount: number; busy: number }>(
    `SELECT message_count AS messageCount, busy FROM conversations WHERE ${where}id = ?`,
  );
  const selectHistory = db.prepare<string[], { role: string; content: string }>(
    `SELECT role, content FROM messages WHERE ${where}conversation_id = ? ORDER BY seq`,
  );
  const insertConversation = db.prepare(
    `INSERT INTO conversations VALUES (${value}?, ?, NULL, NULL, '{}', 0, 1, ?, ?)`,
  );
  const takeConversation = db.prepare(`UPDATE conversations SET busy = 1 WHERE ${where}id = ?`);
  const giveConversationBack = db.prepare(
    `UPDATE conversations SET busy = 0, message_count = ?, updated_at = ? WHERE ${where}id = ?`,
  );
  const insertMessage = db.prepare(`INSERT INTO messages VALUES (${value}?, ?, ?, ?, ?, 'complete', ?)`);
  const insertTurn = db.prepare(
    `INSERT INTO turns VALUES (${value}?, ?, ?, ?, ?, NULL, 'openai', ?, 'ok', NULL, ?, ?, ?, NULL, ?)`,
  );
  const addUsage = db.prepare(
    `INSERT INTO usage_days VALUES (${value}?, ?, ?, 1, ?, ?, 0)
     ON CONFLICT (${column}day, config_id, model) DO UPDATE SET turns = turns + 1,
       input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens`,
  );

  const begin = db.transaction((turn: BareTurn, newConversationId: string): BareBegun | null => {
    const config = selectConfig.get(...own, turn.configId);
    if (!config) return null;
    if (turn.conversationId === null) {
      insertConversation.run(...own, newConversationId, turn.configId, turn.at, turn.at);
      return { config, conversationId: newConversationId, messageCount: 0, history: [] };
    }
    const conversation = selectConversation.get(...own, turn.conversationId);
    if (!conversation || conversation.busy === 1) return null;
    takeConversation.run(...own, turn.conversationId);
    const history = selectHistory.all(...own, turn.conversationId);
    return {
      config,
      conversationId: turn.conversationId,
      messageCount: conversation.messageCount,
      history,
    };
  });

  const finish = db.transaction((turn: BareTurn, begun: BareBegun, end: BareEnd): void => {
    const { conversationId, messageCount: count, config } = begun;
    const { inputTokens, outputTokens, at } = end;
    insertMessage.run(...own, conversationId, count + 1, end.userMessageId, 'user', end.userMessage, turn.at);
    insertMessage.run(...own, conversationId, count + 2, end.answerId, 'assistant', end.answer, at);
    insertTurn.run(
      ...own,
      turn.id,
      turn.requestId,
      turn.configId,
      config.version,
      conversationId,
      end.model,
      at - turn.at,
      inputTokens,
      outputTokens,
      turn.at,
    );
    addUsage.run(...own, end.day, turn.configId, end.model, inputTokens, outputTokens);
    giveConversationBack.run(count + 2, at, ...own, conversationId);
  });

  return {
    putConfig: (id, { version, systemPrompt, modelConfig }) =>
      void insertConfig.run(...own, id, version, systemPrompt, modelConfig),
    begin: (turn, newConversationId) => begin.immediate(turn, newConversationId),
    finish: (turn, begun, end) => finish.immediate(turn, begun, end),
    durable,
  };
}
