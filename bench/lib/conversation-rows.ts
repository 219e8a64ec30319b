import { closeSync, fsyncSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import { systemClock } from '../../tenant-schema/clock.ts';
import { createIds } from '../../tenant-schema/ids.ts';

export interface ConversationRows {
  configId: string;
  /** How many messages each has; an even number, so that it ends with an answer. */
  messagesEach: number;
  textBytes: number;
  /** Whether there is enough; asked after each conversation. */
  isEnough(count: number, fileBytes: number): boolean;
}

/** Writes conversations into a tenant's file that nobody has open; gives their ids. */
export function writeConversations(path: string, rows: ConversationRows): string[] {
  const { configId, messagesEach, textBytes } = rows;
  const ids = createIds(systemClock);
  const db = new Database(path, { fileMustExist: true });
  // Nobody needs the file if this fails.
  db.pragma('synchronous = OFF');
  const conversation = db.prepare(
    `INSERT INTO conversations (id, config_id, metadata, message_count, history_bytes, awaiting_tools, created_at, updated_at)
     VALUES (?, ?, '{}', ?, ?, 0, 1, 1)`,
  );
  const message = db.prepare(
    `INSERT INTO messages (conversation_id, seq, id, role, content, is_error, status, created_at)
     VALUES (?, ?, ?, ?, ?, 0, 'complete', 1)`,
  );
  const size = db
    .prepare<[], number>('SELECT page_count * page_size FROM pragma_page_count, pragma_page_size')
    .pluck();
  const made: string[] = [];
  db.transaction(() => {
    while (!rows.isEnough(made.length, size.get() ?? Number.POSITIVE_INFINITY)) {
      const id = ids();
      conversation.run(id, configId, messagesEach, messagesEach * textBytes);
      for (let seq = 1; seq <= messagesEach; seq += 1) {
        message.run(id, seq, ids(), seq % 2 === 1 ? 'user' : 'assistant', textOf(id, seq, textBytes));
      }
      made.push(id);
    }
  })();
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  // Or the system would write it while the turns wait for the disk.
  const file = openSync(path, 'r+');
  fsyncSync(file);
  closeSync(file);
  return made;
}

/** Letters and spaces, so many bytes, the same for the same place. */
export const textOf = (id: string, seq: number, bytes: number): string =>
  `${id} ${seq} `.padEnd(bytes, 'lorem ipsum dolor sit amet ').slice(0, bytes);
