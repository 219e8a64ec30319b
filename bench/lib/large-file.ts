import { join } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../tenant-schema/clock.ts';
import { createIds } from '../../tenant-schema/ids.ts';
import { openTenantEngine } from '../../tenant-schema/sqlite/engine.ts';

const MESSAGES_EACH = 100;
/** Short enough to lie in a page of the table: a longer text takes a page of 4 KiB beside it. */
const TEXT_BYTES = 600;

/** Makes a tenant's file of at least so many bytes in `folder`: conversations of a hundred messages. */
export async function makeLargeFile(folder: string, bytes: number): Promise<string> {
  const ids = createIds(systemClock);
  const id = ids();
  const engine = openTenantEngine({
    folder,
    clock: systemClock,
    ids,
    runId: ids(),
    openMax: 1,
    idleMs: 0,
    synchronous: 'NORMAL',
    log: { warn: () => {} },
  });
  await engine.create({ id, name: 'Large' });
  await engine.close();

  const path = join(folder, `${id}.db`);
  const db = new Database(path);
  // Nobody needs the file if this fails.
  db.pragma('synchronous = OFF');
  const configId = ids();
  const conversation = db.prepare(
    `INSERT INTO conversations (id, config_id, metadata, message_count, history_bytes, awaiting_tools, created_at, updated_at)
     VALUES (?, ?, '{}', ?, ?, 0, 1, 1)`,
  );
  const message = db.prepare(
    `INSERT INTO messages (conversation_id, seq, id, role, content, is_error, status, created_at)
     VALUES (?, ?, ?, ?, ?, 0, 'complete', 1)`,
  );
  const size = db.prepare<[], number>(
    'SELECT page_count * page_size FROM pragma_page_count, pragma_page_size',
  );
  db.transaction(() => {
    while ((size.pluck().get() ?? bytes) < bytes) {
      const conversationId = ids();
      conversation.run(conversationId, configId, MESSAGES_EACH, MESSAGES_EACH * TEXT_BYTES);
      for (let seq = 1; seq <= MESSAGES_EACH; seq += 1) {
        const text = `${conversationId} ${seq} `.padEnd(TEXT_BYTES, 'lorem ipsum dolor sit amet ');
        message.run(conversationId, seq, ids(), seq % 2 === 1 ? 'user' : 'assistant', text);
      }
    }
  })();
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  return path;
}
