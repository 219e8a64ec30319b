import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as nextTick } from 'node:timers/promises';
import { and, asc, desc, eq, gt, gte, isNotNull, lt, sql } from 'drizzle-orm';
import { firstIdAt, isId } from '../tenant-schema/ids.ts';
import { idBound, pageOf } from '../tenant-schema/page.ts';
import type { JsonObject, Listing, Page } from '../tenant-schema/store.ts';
import type { ControlDatabase } from './database.ts';
import { adminTokens, apiKeys, auditHead, audit as auditRows, tenants } from './tables.ts';
import type { Actor, ActorKind, AuditAction, AuditEvent, AuditFilter, AuditVerdict } from './types.ts';

export interface AuditEntry {
  actor: Actor;
  action: AuditAction;
  tenantId: string | null;
  /** The row that was changed; null where it is not about one. */
  targetId: string | null;
  /** What changed, without secrets. */
  changes?: JsonObject;
}

/** Writes down who did what. Called inside the transaction of the change, so that neither is there alone. */
export type Audit = (entry: AuditEntry) => void;

export interface AuditTable {
  add: Audit;
  /** See `ControlPlane.listAudit`. */
  list(filter: AuditFilter, page: Page): Listing<AuditEvent>;
  /** See `ControlPlane.verifyAudit`. */
  verify(): Promise<AuditVerdict>;
}

type AuditRow = typeof auditRows.$inferSelect;
type Link = Pick<AuditRow, 'seq' | 'privateSalt' | 'privateHash' | 'hash'>;
interface Head {
  seq: number;
  hash: Buffer;
}

const SALT_BYTES = 16;
/** What the first row is chained to. */
const ROOT: Head = { seq: 0, hash: Buffer.alloc(32) };
/** Rows that are read in one go while nothing else runs. */
const BATCH_ROWS = 500;
const SYSTEM_ID = 'system';

const sha256 = (...parts: (Buffer | string)[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** What a purge takes out of a row: what changed, and the name of a tenant's own key. */
const privateText = (row: Pick<AuditRow, 'actorKind' | 'actorName' | 'changes'>): string =>
  JSON.stringify([row.actorKind === 'key' ? row.actorName : null, row.changes]);

/** The row chained to the one before: every column is in the hash, what is private by its salted hash. */
function chainHash(before: Buffer, row: Omit<AuditRow, 'privateSalt' | 'hash'>): Buffer {
  const columns = [
    row.seq,
    row.id,
    row.at,
    row.actorKind,
    row.actorId,
    row.actorKind === 'key' ? null : row.actorName,
    row.action,
    row.tenantId,
    row.targetId,
    row.requestId,
    row.privateHash?.toString('hex') ?? null,
  ];
  return sha256(before, JSON.stringify(columns));
}

/** The row as the next one of the chain. */
function linked(head: Head, row: Omit<AuditRow, keyof Link>): Link & { seq: number; hash: Buffer } {
  const seq = head.seq + 1;
  const privateSalt = randomBytes(SALT_BYTES);
  const privateHash = sha256(privateSalt, privateText(row));
  return { seq, privateSalt, privateHash, hash: chainHash(head.hash, { ...row, seq, privateHash }) };
}

/** The audit table, each row chained to the one before by its hash. One process writes to it at a time. */
export function createAudit({ db, clock, ids, write }: ControlDatabase): AuditTable {
  const param = sql.placeholder;
  const selectHead = db.select({ seq: auditHead.seq, hash: auditHead.hash }).from(auditHead).prepare();
  const updateHead = db
    .update(auditHead)
    .set({ seq: sql`${param('seq')}`, hash: sql`${param('hash')}` })
    .prepare();
  const selectKey = db
    .select({ id: apiKeys.id })
    .from(apiKeys)
    .where(eq(apiKeys.id, param('id')))
    .prepare();
  const insert = db
    .insert(auditRows)
    .values({
      id: param('id'),
      at: param('at'),
      actorId: param('actorId'),
      actorName: param('actorName'),
      actorKind: param('actorKind'),
      action: param('action'),
      tenantId: param('tenantId'),
      targetId: param('targetId'),
      requestId: param('requestId'),
      changes: param('changes'),
      seq: param('seq'),
      privateSalt: param('privateSalt'),
      privateHash: param('privateHash'),
      hash: param('hash'),
    })
    .prepare();
  const selectKeptTenant = db
    .select({ id: tenants.id })
    .from(tenants)
    .where(and(eq(tenants.id, param('id')), eq(tenants.purging, false)))
    .prepare();
  const selectBatch = db
    .select()
    .from(auditRows)
    .where(gt(auditRows.seq, param('after')))
    .orderBy(asc(auditRows.seq))
    .limit(BATCH_ROWS)
    .prepare();

  const kindOf = ({ id }: Actor): ActorKind =>
    id === SYSTEM_ID ? 'system' : selectKey.get({ id }) ? 'key' : 'admin';

  const add: Audit = ({ actor, action, tenantId, targetId, changes = {} }) => {
    const row = {
      id: ids(),
      at: clock.now(),
      actorId: actor.id,
      actorName: actor.name,
      actorKind: kindOf(actor),
      action,
      tenantId,
      targetId,
      requestId: actor.requestId,
      changes: JSON.stringify(changes),
    };
    const link = linked(selectHead.get() ?? ROOT, row);
    insert.run({ ...row, ...link });
    updateHead.run({ seq: link.seq, hash: link.hash });
  };

  /** Chains what earlier releases have written: once, before anything is added. */
  function chainEarlierRows(): Head {
    let head = ROOT;
    const update = db
      .update(auditRows)
      .set({
        seq: sql`${param('seq')}`,
        privateSalt: sql`${param('privateSalt')}`,
        privateHash: sql`${param('privateHash')}`,
        hash: sql`${param('hash')}`,
      })
      .where(eq(auditRows.id, param('id')))
      .prepare();
    for (let after = ''; ; ) {
      const rows = db
        .select()
        .from(auditRows)
        .where(gt(auditRows.id, after))
        .orderBy(asc(auditRows.id))
        .limit(BATCH_ROWS)
        .all();
      for (const row of rows) {
        head = linked(head, row);
        update.run({ ...head, id: row.id });
        after = row.id;
      }
      if (rows.length < BATCH_ROWS) return head;
    }
  }

  /**
   * The head where there was one and somebody took it away; null where there was none yet. It leaves out a number, so
   * that the gap shows for ever: what may have been cut off with it, nobody can tell.
   */
  function headOfTornChain(): Head | null {
    const last = db
      .select({ seq: auditRows.seq, hash: auditRows.hash })
      .from(auditRows)
      .where(isNotNull(auditRows.seq))
      .orderBy(desc(auditRows.seq))
      .limit(1)
      .get();
    if (last) return { seq: (last.seq ?? 0) + 1, hash: last.hash ?? ROOT.hash };
    const isThere = (table: typeof auditRows | typeof tenants | typeof adminTokens): boolean =>
      db.select({ id: table.id }).from(table).limit(1).get() !== undefined;
    // Whatever makes one of these writes a row about it.
    const isTorn = !isThere(auditRows) && (isThere(tenants) || isThere(adminTokens));
    return isTorn ? { ...ROOT, seq: 1 } : null;
  }

  write(() => {
    if (selectHead.get()) return;
    db.insert(auditHead)
      .values({ id: 1, ...(headOfTornChain() ?? chainEarlierRows()) })
      .run();
  });

  return {
    add,

    list({ tenantId, actor, action, since, until }, page) {
      const rows = db
        .select()
        .from(auditRows)
        .where(
          and(
            lt(auditRows.id, idBound(page.cursor)),
            tenantId === undefined ? undefined : eq(auditRows.tenantId, tenantId),
            actor === undefined
              ? undefined
              : eq(isId(actor) ? auditRows.actorId : auditRows.actorName, actor),
            action === undefined ? undefined : eq(auditRows.action, action),
            // An id begins with its time: the range is one of the key that every index ends with.
            since === undefined ? undefined : gte(auditRows.id, firstIdAt(since)),
            until === undefined ? undefined : lt(auditRows.id, firstIdAt(until)),
          ),
        )
        .orderBy(desc(auditRows.id))
        .limit(page.limit + 1)
        .all();
      return pageOf(rows.map(toEvent), page.limit, ({ id }) => id);
    },

    async verify() {
      // Together, before anything can be added: rows that no hash covers are no later ones.
      const end = selectHead.get() ?? ROOT;
      const [unchained] = db
        .select({ id: auditRows.id })
        .from(auditRows)
        .where(sql`${auditRows.seq} IS NULL OR ${auditRows.seq} > ${end.seq}`)
        .limit(1)
        .all();
      let head = ROOT;
      while (head.seq < end.seq) {
        const rows = selectBatch.all({ after: head.seq });
        if (rows.length === 0) return broken(null, 'rows are missing there');
        for (const row of rows) {
          if (row.seq === null || row.seq > end.seq) break;
          const mayBePurged = () =>
            row.tenantId !== null && selectKeptTenant.get({ id: row.tenantId }) === undefined;
          const problem = problemOf(head, row, mayBePurged);
          if (problem !== null) return broken(row.id, problem);
          head = { seq: row.seq, hash: row.hash ?? ROOT.hash };
        }
        await nextTick();
      }
      if (!head.hash.equals(end.hash))
        return broken(null, 'the last row is not the one that was written last');
      return unchained
        ? broken(unchained.id, 'the row was not written by this program')
        : { rows: end.seq, broken: null };

      function broken(id: string | null, reason: string): AuditVerdict {
        return { rows: end.seq, broken: { id, reason } };
      }
    },
  };
}

/** What is wrong with a row that should follow `head`; null where it does. */
function problemOf(head: Head, row: AuditRow, mayBePurged: () => boolean): string | null {
  if (row.seq !== head.seq + 1) return 'rows before it are missing';
  if (row.privateSalt === null) {
    const isPurged = row.changes === '{}' && (row.actorKind !== 'key' || row.actorName === '');
    if (!isPurged || !mayBePurged()) return 'the row was changed';
  } else if (!row.privateHash?.equals(sha256(row.privateSalt, privateText(row)))) {
    return 'the row was changed';
  }
  return row.hash?.equals(chainHash(head.hash, row)) ? null : 'the row was changed, or a row before it was';
}

const toEvent = (row: AuditRow): AuditEvent => ({
  id: row.id,
  at: row.at,
  actor: { id: row.actorId, name: row.actorName, kind: row.actorKind },
  action: row.action,
  tenantId: row.tenantId,
  targetId: row.targetId,
  requestId: row.requestId,
  changes: row.changes === null ? {} : (JSON.parse(row.changes) as JsonObject),
});
