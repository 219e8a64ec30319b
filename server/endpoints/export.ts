import type { Actor } from '../../control-plane/types.ts';
import type { FaultCode } from '../../tenant-schema/fault.ts';
import { databaseName } from './backups.ts';
import { adminEndpoint, type Endpoint, FileReply, type Services, tenantEndpoint } from './endpoint.ts';

const faults: FaultCode[] = ['concurrency_limited', 'storage_quota_exceeded', 'tenant_unavailable'];

async function exportTenant({ operations }: Services, tenantId: string, actor: Actor): Promise<FileReply> {
  const { path, sha256, tenantName, createdAt, signal, release } = await operations.exports.create(
    tenantId,
    actor,
  );
  return new FileReply({
    path,
    sha256,
    fileName: databaseName(tenantName, createdAt),
    // Each export is a copy of that moment, which is gone when it is sent.
    resumable: false,
    signal,
    release,
  });
}

export const exportEndpoints: Endpoint[] = [
  tenantEndpoint(
    {
      name: 'exportData',
      group: 'Me',
      method: 'GET',
      path: '/api/v1/export',
      scope: 'manage',
      summary: "The tenant's own data as one SQLite file; one export at a time",
      givesFile: 'whole',
      faults,
    },
    ({ identity: { tenant, key }, requestId, services }) =>
      exportTenant(services, tenant.id, { id: key.id, name: key.name, requestId }),
  ),
  adminEndpoint(
    {
      name: 'exportTenant',
      group: 'Tenants',
      method: 'GET',
      path: '/api/v1/admin/tenants/:id/export',
      role: 'operator',
      summary: "A tenant's data as one SQLite file; one export at a time",
      givesFile: 'whole',
      faults,
    },
    ({ params, actor, services }) => exportTenant(services, params.id, actor),
  ),
];
