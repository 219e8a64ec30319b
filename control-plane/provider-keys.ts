import { and, eq, gt, or, sql } from 'drizzle-orm';
import { Fault, invalid, notFound } from '../tenant-schema/fault.ts';
import { decodeCursor, pageOf } from '../tenant-schema/page.ts';
import type { Listing, Page } from '../tenant-schema/store.ts';
import type { Audit } from './audit.ts';
import type { ControlDatabase } from './database.ts';
import type { MasterKey } from './master-key.ts';
import { providerKeys } from './tables.ts';
import type { Actor, ControlPlane, ProviderKey, ProviderKeysCheck, Reseal, Unopenable } from './types.ts';

/** Of a shorter key, four characters would be more than half of it. */
const LAST4_KEY_CHARS_MIN = 8;
/** Rows that are opened between two looks at the event loop; one costs about 10 µs. */
const BATCH = 500;

type Row = typeof providerKeys.$inferSelect;

/** Tenants' own keys at providers. The tenant must be there: its id is not looked up here. */
export interface ProviderKeys {
  unlock: ControlPlane['unlockProviderKeys'];
  /** Only inside a transaction. */
  put(tenantId: string, provider: string, apiKey: string, actor: Actor): ProviderKey;
  list(tenantId: string, page: Page): Listing<ProviderKey>;
  get(tenantId: string, provider: string): ProviderKey;
  /** Only inside a transaction. */
  remove(tenantId: string, provider: string, actor: Actor): void;
  open(tenantId: string, provider: string): string | null;
  /** Only inside a transaction. */
  reseal(next: MasterKey, unopenable: Unopenable, actor: Actor): Reseal;
  count(masterKeyId?: string): number;
  check(): Promise<ProviderKeysCheck>;
}

export function createProviderKeys({ db, clock }: ControlDatabase, audit: Audit): ProviderKeys {
  let sealing: MasterKey | null = null;
  let opening: MasterKey[] = [];

  const selectOne = db
    .select()
    .from(providerKeys)
    .where(
      and(
        eq(providerKeys.tenantId, sql.placeholder('tenantId')),
        eq(providerKeys.provider, sql.placeholder('provider')),
      ),
    )
    .prepare();
  const selectAfter = db
    .select()
    .from(providerKeys)
    .where(
      or(
        gt(providerKeys.tenantId, sql.placeholder('tenantId')),
        and(
          eq(providerKeys.tenantId, sql.placeholder('tenantId')),
          gt(providerKeys.provider, sql.placeholder('provider')),
        ),
      ),
    )
    .orderBy(providerKeys.tenantId, providerKeys.provider)
    .limit(BATCH)
    .prepare();
  const isRow = (tenantId: string, provider: string) =>
    and(eq(providerKeys.tenantId, tenantId), eq(providerKeys.provider, provider));

  /** Every row, in batches: between two of them others may write. */
  function* batches(): Generator<Row[]> {
    let last = { tenantId: '', provider: '' };
    for (;;) {
      const rows = selectAfter.all(last);
      const end = rows.at(-1);
      if (!end) return;
      yield rows;
      last = end;
    }
  }

  const openRow = (row: Row): string | null =>
    opening.find(({ id }) => id === row.masterKeyId)?.open(row, row.sealed) ?? null;

  function require(tenantId: string, provider: string): Row {
    const row = selectOne.get({ tenantId, provider });
    if (!row) throw notFound();
    return row;
  }

  return {
    unlock: (current, previous = null) => {
      sealing = current;
      opening = [current, previous].filter((key) => key !== null);
    },

    put(tenantId, provider, apiKey, actor) {
      if (!sealing) {
        throw new Fault(
          'provider_not_configured',
          'The master key of this server is missing, so no key can be kept; the operator puts it back.',
        );
      }
      const replaced = selectOne.get({ tenantId, provider }) !== undefined;
      const row: Row = {
        tenantId,
        provider,
        sealed: sealing.seal({ tenantId, provider }, apiKey),
        masterKeyId: sealing.id,
        last4: apiKey.length < LAST4_KEY_CHARS_MIN ? '' : apiKey.slice(-4),
        updatedAt: clock.now(),
      };
      db.insert(providerKeys)
        .values(row)
        .onConflictDoUpdate({ target: [providerKeys.tenantId, providerKeys.provider], set: row })
        .run();
      audit({ actor, action: 'provider_key.put', tenantId, targetId: provider, changes: { replaced } });
      return toProviderKey(row);
    },

    list(tenantId, page) {
      const rows = db.select().from(providerKeys).where(eq(providerKeys.tenantId, tenantId)).all();
      // At most one for each provider there is, so they are put in order here.
      const sorted = rows.toSorted((a, b) => b.updatedAt - a.updatedAt || (a.provider < b.provider ? -1 : 1));
      const at = page.cursor === null ? 0 : sorted.findIndex(isNamed(decodeCursor(page.cursor))) + 1;
      if (page.cursor !== null && at === 0) {
        throw invalid([{ path: 'cursor', message: 'must be a cursor from an earlier page' }]);
      }
      return pageOf(sorted.slice(at).map(toProviderKey), page.limit, ({ name }) => name);
    },

    get: (tenantId, provider) => toProviderKey(require(tenantId, provider)),

    remove(tenantId, provider, actor) {
      require(tenantId, provider);
      db.delete(providerKeys).where(isRow(tenantId, provider)).run();
      audit({ actor, action: 'provider_key.delete', tenantId, targetId: provider });
    },

    open(tenantId, provider) {
      const row = selectOne.get({ tenantId, provider });
      if (!row) return null;
      const apiKey = openRow(row);
      if (apiKey !== null) return apiKey;
      throw new Fault(
        'provider_not_configured',
        `The tenant's key for the provider "${provider}" cannot be opened with the server's master key: put it again ` +
          `with PUT /api/v1/providers/${provider}, or the operator puts the right master key back.`,
      );
    },

    reseal(next, unopenable, actor) {
      const result: Reseal = { resealed: 0, dropped: 0 };
      const before = new Set<string>();
      for (const rows of batches()) {
        for (const row of rows) {
          before.add(row.masterKeyId);
          const apiKey = openRow(row);
          if (apiKey === null) {
            if (unopenable === 'refuse') throw cannotOpen();
            if (unopenable === 'keep') continue;
            db.delete(providerKeys).where(isRow(row.tenantId, row.provider)).run();
            const { tenantId, provider: targetId } = row;
            const changes = { reason: 'unopenable' };
            audit({ actor, action: 'provider_key.delete', tenantId, targetId, changes });
            result.dropped += 1;
          } else if (row.masterKeyId !== next.id) {
            db.update(providerKeys)
              .set({ sealed: next.seal(row, apiKey), masterKeyId: next.id })
              .where(isRow(row.tenantId, row.provider))
              .run();
            result.resealed += 1;
          }
        }
      }
      audit({
        actor,
        action: 'master_key.rotate',
        tenantId: null,
        targetId: next.id,
        changes: { from: [...before].sort(), ...result },
      });
      return result;
    },

    count: (masterKeyId) =>
      db
        .select({ count: sql<number>`count(*)` })
        .from(providerKeys)
        .where(masterKeyId === undefined ? undefined : eq(providerKeys.masterKeyId, masterKeyId))
        .get()?.count ?? 0,

    async check() {
      const result: ProviderKeysCheck = { sealed: 0, unopenable: 0, tenantIds: [] };
      const tenantIds = new Set<string>();
      for (const rows of batches()) {
        result.sealed += rows.length;
        for (const row of rows) {
          if (openRow(row) !== null) continue;
          result.unopenable += 1;
          tenantIds.add(row.tenantId);
        }
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      return { ...result, tenantIds: [...tenantIds] };
    },
  };
}

const isNamed =
  (provider: string) =>
  (row: Row): boolean =>
    row.provider === provider;

const cannotOpen = (): Fault =>
  new Fault(
    'provider_not_configured',
    'Some provider keys cannot be opened with the master key that the server has, and would be lost: nothing was changed.',
  );

const toProviderKey = ({ provider, last4, updatedAt }: Row): ProviderKey => ({
  name: provider,
  last4,
  updatedAt,
});
