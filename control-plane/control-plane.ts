import type { Clock } from '../tenant-schema/clock.ts';
import type { IdMaker } from '../tenant-schema/ids.ts';
import { createFileWorker, type FileWorker } from '../tenant-schema/sqlite/file-worker.ts';
import type { CopyChange } from '../tenant-schema/sqlite/plain-copy.ts';
import { createAdminTokens, type TokenHasher } from './admin-tokens.ts';
import { createApiKeys } from './api-keys.ts';
import { createAudit } from './audit.ts';
import { openControlDatabase } from './database.ts';
import { createProviderKeys } from './provider-keys.ts';
import { createSessions, DEFAULT_SESSION_LIMITS } from './sessions.ts';
import { createTenants } from './tenants.ts';
import { createTrash, forgetting } from './trash.ts';
import type { ControlPlane, SessionLimits } from './types.ts';
import { createUsageDays } from './usage-days.ts';

/** The rows of the audit table that backups write. */
const BY_BACKUPS = "action = 'backup.create'";
/** Tables that move with every row of the audit, or with every start and stop, and tell nothing by themselves. */
const BOOKKEEPING = { audit_head: 'true', usage_state: 'true' };
/** A copy that is put in the place of control.db must not bring back a session that has ended since. */
const WITHOUT_SESSIONS: CopyChange = { since: 7, sql: 'DELETE FROM sessions WHERE id <> ?', parameter: '' };

export interface ControlPlaneOptions {
  /** Where control.db is, or is to be made. Its folder must exist. */
  path: string;
  clock: Clock;
  ids: IdMaker;
  /** How long sessions of the console last; by default half an hour without a request, and half a day. */
  sessionLimits?: SessionLimits;
  /** Only tests give one: argon2id takes 130 ms. */
  tokenHasher?: TokenHasher;
}

/**
 * Opens the control plane over its own database file, brought to the latest schema.
 * The caller closes it.
 * @throws ForeignDatabaseError, NewerDatabaseError, MigrationHistoryError, or SQLite's own error.
 */
export function openControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { path, clock, ids, tokenHasher, sessionLimits: limits = DEFAULT_SESSION_LIMITS } = options;
  const database = openControlDatabase(path, clock, ids);
  const { write } = database;
  const auditTable = createAudit(database);
  const audit = auditTable.add;
  const usage = createUsageDays(database);
  const tenants = createTenants(database, audit);
  const apiKeys = createApiKeys(database, audit);
  const trash = createTrash(database, { audit, tenants, apiKeys });
  const adminTokens = createAdminTokens(database, audit, tokenHasher);
  const providerKeys = createProviderKeys(database, audit);
  const sessions = createSessions(database, { audit, adminTokens, apiKeys, limits });

  return {
    addTenant: (id, tenant, actor, origin = { action: 'tenant.create' }) =>
      write(() => ({
        tenant: tenants.insert(id, tenant, actor, origin),
        issued: apiKeys.insert(id, { name: 'default' }, actor),
      })),
    adoptTenants: (found, actor) =>
      write(() =>
        found.map((one) => ({
          tenant: tenants.adopt(one, actor),
          issued: one.status === 'deleted' ? null : apiKeys.insert(one.id, { name: 'default' }, actor),
        })),
      ),
    listTenants: tenants.list,
    getTenant: tenants.get,
    updateTenant: tenants.update,
    countTenants: tenants.count,

    deleteTenant: trash.remove,
    getDeletedTenant: trash.get,
    undeleteTenant: trash.restore,
    beginPurge: trash.beginPurge,
    listPurging: trash.listPurging,
    forgetTenant: trash.forget,
    endPurge: trash.endPurge,
    compact: trash.compact,
    recordFileEvent: ({ tenantId, targetId, ...event }, actor) =>
      write(() => audit({ actor, ...event, tenantId, targetId: targetId ?? tenantId })),
    listAudit: auditTable.list,
    verifyAudit: auditTable.verify,
    ...usage,

    createKey: (tenantId, key, actor) =>
      write(() => {
        tenants.get(tenantId);
        return apiKeys.insert(tenantId, key, actor);
      }),
    listKeys: (tenantId, page) => {
      tenants.get(tenantId);
      return apiKeys.list(tenantId, page);
    },
    listKeyless: apiKeys.listKeyless,
    rotateKey: (tenantId, keyId, rotation, actor) =>
      write(() => {
        tenants.get(tenantId);
        return apiKeys.rotate(tenantId, keyId, rotation, actor);
      }),
    revokeKey: (tenantId, keyId, actor, options = { keepManager: false }) =>
      write(() => {
        tenants.get(tenantId);
        apiKeys.revoke(tenantId, keyId, actor, options);
      }),

    findByKey: (text) => apiKeys.open(text)?.identity,
    putProviderKey: (tenantId, provider, apiKey, actor) =>
      write(() => {
        tenants.get(tenantId);
        return providerKeys.put(tenantId, provider, apiKey, actor);
      }),
    listProviderKeys: (tenantId, page) => {
      tenants.get(tenantId);
      return providerKeys.list(tenantId, page);
    },
    getProviderKey: (tenantId, provider) => {
      tenants.get(tenantId);
      return providerKeys.get(tenantId, provider);
    },
    deleteProviderKey: (tenantId, provider, actor) =>
      write(() => {
        tenants.get(tenantId);
        providerKeys.remove(tenantId, provider, actor);
      }),
    openProviderKey: providerKeys.open,
    unlockProviderKeys: providerKeys.unlock,
    resealProviderKeys: (next, unopenable, actor) =>
      write(() => providerKeys.reseal(next, unopenable, actor)),
    countProviderKeys: providerKeys.count,
    checkProviderKeys: providerKeys.check,

    findAdmin: adminTokens.find,
    createAdminToken: adminTokens.create,
    listAdminTokens: adminTokens.list,
    revokeAdminToken: adminTokens.revoke,
    setAdminToken: adminTokens.set,
    ensureAdminToken: adminTokens.ensure,
    hasAdminToken: adminTokens.exists,

    signIn: sessions.signIn,
    findSession: sessions.findSession,
    signOut: sessions.signOut,
    removeExpiredSessions: sessions.removeExpiredSessions,

    snapshot: (target) =>
      inWorker(async (worker) => {
        const report = await worker.run(
          'plainCopy',
          { source: path, target, changes: [WITHOUT_SESSIONS] },
          null,
        );
        const except = { audit: BY_BACKUPS, ...BOOKKEEPING };
        const contentSha256 = await worker.run('contentDigest', { source: target, except }, null);
        return { ...report, contentSha256 };
      }),
    copyWithout: (tenantIds, work) =>
      inWorker((worker) => {
        const changes = forgetting(tenantIds);
        return work((source, target) => worker.run('plainCopy', { source, target, changes }, null));
      }),
    check: () => inWorker((worker) => worker.run('integrity', { source: path }, null)),

    flushLastUses: apiKeys.flushLastUses,
    close: () => {
      try {
        sessions.close();
        apiKeys.close();
        adminTokens.flushLastUses();
      } finally {
        database.close();
      }
    },
  };
}

/** Work on the file itself is rare here: a child process for each. */
async function inWorker<T>(work: (worker: FileWorker) => Promise<T>): Promise<T> {
  const worker = createFileWorker({ childrenMax: 1 });
  try {
    return await work(worker);
  } finally {
    await worker.close();
  }
}
