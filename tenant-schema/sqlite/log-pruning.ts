import { asc, eq, lt, sql } from 'drizzle-orm';
import { firstIdAt } from '../ids.ts';
import type { TenantStore } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { turnContents, turns } from './tables.ts';

export type PruningVerbs = Pick<TenantStore, 'pruneLogs' | 'hasLogsToPrune'>;

/** Of what was said, so much is removed at a time, or one row's: SQLite visits each page that it frees. */
const CONTENT_BYTES_MAX = 1024 * 1024;
/** Pages given back to the disk at a time; each may have to be moved first. */
const PAGES_MAX = 64;
/** What `PRAGMA auto_vacuum` says of a file whose pages can be given back little by little. */
const INCREMENTAL = 2;

/** Removes log rows that are kept no longer, a few milliseconds at a time. */
export function pruningVerbs(context: StoreContext): PruningVerbs {
  const { orm, pragma, prepared } = context;
  const param = sql.placeholder;
  const oldest = prepared(() =>
    orm
      .select({
        id: turns.id,
        bytes: sql<number>`coalesce(octet_length(${turnContents.input}) + octet_length(${turnContents.output}), 0)`,
      })
      .from(turns)
      .leftJoin(turnContents, eq(turnContents.turnId, turns.id))
      .where(lt(turns.id, param('end')))
      .orderBy(asc(turns.id))
      .limit(param('limit'))
      .prepare(),
  );
  const remove = prepared(() =>
    orm
      .delete(turns)
      .where(lt(turns.id, param('end')))
      .prepare(),
  );
  const removeContents = prepared(() =>
    orm
      .delete(turnContents)
      .where(lt(turnContents.turnId, param('end')))
      .prepare(),
  );

  /** Nobody waits for the disk: rows that come back after a power cut are removed the next time. */
  const removeRows = (end: string, countMax: number): { removed: number; isMore: boolean } =>
    context.writeUnpromised(() => {
      const rows = oldest().all({ end, limit: countMax + 1 });
      let count = 0;
      let bytes = 0;
      for (const row of rows.slice(0, countMax)) {
        bytes += row.bytes;
        if (count > 0 && bytes > CONTENT_BYTES_MAX) break;
        count += 1;
      }
      const firstKept = rows[count]?.id ?? end;
      removeContents().run({ end: firstKept });
      return { removed: remove().run({ end: firstKept }).changes, isMore: count < rows.length };
    });

  const hasSparePages = (): boolean =>
    pragma('auto_vacuum') === INCREMENTAL && Number(pragma('freelist_count')) > 0;

  const hasRows = (end: string): boolean => oldest().get({ end, limit: 1 }) !== undefined;

  return {
    hasLogsToPrune: (before) => hasRows(firstIdAt(before)) || hasSparePages(),

    pruneLogs(before, countMax) {
      const end = firstIdAt(before);
      // Nothing is written to a file that has nothing to give.
      if (hasRows(end)) {
        const { removed, isMore } = removeRows(end, countMax);
        return { removed, isMore: isMore || hasSparePages() };
      }
      if (!hasSparePages()) return { removed: 0, isMore: false };
      pragma(`incremental_vacuum(${PAGES_MAX})`);
      return { removed: 0, isMore: hasSparePages() };
    },
  };
}
