import { openBareDatabase } from './bare-store.ts';
import { textOf } from './conversation-rows.ts';

export interface BareConversations {
  count: number;
  /** An even number, so that each ends with an answer. */
  messagesEach: number;
  textBytes: number;
}

/** Writes conversations into the file of one tenant; gives their ids. */
export function writeBareConversations(
  path: string,
  configId: string,
  { count, messagesEach, textBytes }: BareConversations,
  newId: () => string,
): string[] {
  const db = openBareDatabase(path, 'files');
  const conversation = db.prepare("INSERT INTO conversations VALUES (?, ?, NULL, NULL, '{}', ?, 0, 1, 1)");
  const message = db.prepare("INSERT INTO messages VALUES (?, ?, ?, ?, ?, 'complete', 1)");
  const made = Array.from({ length: count }, newId);
  db.transaction(() => {
    for (const id of made) {
      conversation.run(id, configId, messagesEach);
      for (let seq = 1; seq <= messagesEach; seq += 1) {
        const role = seq % 2 === 1 ? 'user' : 'assistant';
        message.run(id, seq, newId(), role, textOf(id, seq, textBytes));
      }
    }
  })();
  db.close();
  return made;
}
