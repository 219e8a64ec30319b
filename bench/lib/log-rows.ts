import { closeSync, fsyncSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import { createIds } from '../../tenant-schema/ids.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const USERS = 1000;
const CONVERSATION_TURNS = 8;

export interface LogRows {
  /** One has most of the rows, the others a tenth each or less. */
  configIds: string[];
  conversationId: string;
  /** Has a thousandth of the rows, and none that failed. */
  user: string;
}

/** Writes `count` log rows of the `days` before `now` into a tenant's file, with their sums: one row in 49 failed. */
export function writeLogRows(path: string, now: number, days: number, count: number): LogRows {
  let at = now - days * DAY_MS;
  const ids = createIds({ now: () => at, monotonic: () => at });
  const configIds = Array.from({ length: 5 }, () => ids());
  const db = new Database(path, { fileMustExist: true });
  db.pragma('synchronous = OFF');
  const insert = db.prepare(
    `INSERT INTO turns (id, request_id, config_id, config_version, conversation_id, user, provider, model, status,
       error_code, latency_ms, first_token_ms, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens,
       usage_estimated, cost_micro_usd, created_at)
     VALUES (?, ?, ?, 1, ?, ?, 'openai', ?, ?, ?, 900, 300, 1200, 250, 800, 0, 0, 1450, ?)`,
  );
  let conversationId = ids();
  db.transaction(() => {
    for (let index = 0; index < count; index += 1) {
      at = now - Math.round((1 - index / count) * days * DAY_MS) - 1;
      const id = ids();
      if (index % CONVERSATION_TURNS === 0) conversationId = id;
      const failed = index % 49 === 7;
      const config = configIds[index % 10 < 6 ? 0 : (index % 4) + 1];
      const model = `model-${index % 3}`;
      // Far apart in their index, as those of real users are.
      const user = `user-${(index * 7919) % USERS}`;
      const code = failed ? 'upstream_unavailable' : null;
      insert.run(id, `r-${index}`, config, conversationId, user, model, failed ? 'error' : 'ok', code, at);
    }
    db.exec(`
      INSERT INTO usage_days
        SELECT strftime('%Y-%m-%d', created_at / 1000, 'unixepoch'), config_id, model, count(*),
               count(*) FILTER (WHERE status = 'error'), sum(input_tokens), sum(output_tokens),
               sum(cached_input_tokens), 0, sum(reasoning_tokens), sum(cost_micro_usd), 0
          FROM turns GROUP BY 1, 2, 3`);
  })();
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  // Or the system would write it while the turns wait for the disk.
  const file = openSync(path, 'r+');
  fsyncSync(file);
  closeSync(file);
  return { configIds, conversationId, user: 'user-0' };
}
