import type { Clock } from '../tenant-schema/clock.ts';
import type { IdMaker } from '../tenant-schema/ids.ts';
import { createAdminTokens, type TokenHasher } from './admin-tokens.ts';
import { createApiKeys } from './api-keys.ts';
import { createAudit } from './audit.ts';
import { openControlDatabase } from './database.ts';
import { createTenants } from './tenants.ts';
import type { ControlPlane } from './types.ts';

export interface ControlPlaneOptions {
  /** Where control.db is, or is to be made. Its folder must exist. */
  path: string;
  clock: Clock;
  ids: IdMaker;
  /** Only tests give one: argon2id takes 130 ms. */
  tokenHasher?: TokenHasher;
}

/**
 * Opens the control plane over its own database file, brought to the latest schema.
 * The caller closes it.
 * @throws ForeignDatabaseError, NewerDatabaseError, MigrationHistoryError, or SQLite's own error.
 */
export function openControlPlane({ path, clock, ids, tokenHasher }: ControlPlaneOptions): ControlPlane {
  const database = openControlDatabase(path, clock, ids);
  const { write } = database;
  const audit = createAudit(database);
  const tenants = createTenants(database, audit);
  const apiKeys = createApiKeys(database, audit);
  const adminTokens = createAdminTokens(database, audit, tokenHasher);

  return {
    addTenant: (id, tenant, actor) =>
      write(() => ({
        tenant: tenants.insert(id, tenant, actor),
        issued: apiKeys.insert(id, { name: 'default' }, actor),
      })),
    listTenants: tenants.list,
    getTenant: tenants.get,
    updateTenant: tenants.update,

    createKey: (tenantId, key, actor) =>
      write(() => {
        tenants.get(tenantId);
        return apiKeys.insert(tenantId, key, actor);
      }),
    listKeys: (tenantId, page) => {
      tenants.get(tenantId);
      return apiKeys.list(tenantId, page);
    },
    revokeKey: (tenantId, keyId, actor) =>
      write(() => {
        tenants.get(tenantId);
        apiKeys.revoke(tenantId, keyId, actor);
      }),

    findByKey: apiKeys.find,
    findAdmin: adminTokens.find,
    setAdminToken: adminTokens.set,
    ensureAdminToken: adminTokens.ensure,

    close: () => {
      try {
        apiKeys.flushLastUses();
      } finally {
        database.close();
      }
    },
  };
}
