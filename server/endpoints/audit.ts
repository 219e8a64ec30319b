import { z } from 'zod';
import { AUDIT_ACTIONS, type AuditEvent } from '../../control-plane/types.ts';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import {
  id,
  idFilter,
  jsonObject,
  listOf,
  pageOf,
  pageQuery,
  textOf,
  timeInput,
  timestamp,
  toList,
} from './common.ts';
import { adminEndpoint, type Endpoint } from './endpoint.ts';

const auditEvent = z.strictObject({
  id,
  created_at: timestamp,
  /** `key`: a tenant's own. `system`: what the server does by itself. */
  actor: z.strictObject({ id: z.string(), name: z.string(), kind: z.enum(['admin', 'key', 'system']) }),
  /** What was done: `tenant.update`, `key.revoke`, … */
  action: z.string(),
  tenant_id: id.nullable(),
  target_id: z.string().nullable(),
  request_id: z.string().nullable(),
  /** What changed, without secrets; empty once the tenant is purged. */
  changes: jsonObject,
});

const auditJson = (row: AuditEvent): z.input<typeof auditEvent> => ({
  id: row.id,
  created_at: toTimestamp(row.at),
  actor: row.actor,
  action: row.action,
  tenant_id: row.tenantId,
  target_id: row.targetId,
  request_id: row.requestId,
  changes: row.changes,
});

export const auditSchemas = { AuditEvent: auditEvent };

export const auditEndpoints: Endpoint[] = [
  adminEndpoint(
    {
      name: 'listAudit',
      group: 'Server',
      method: 'GET',
      path: '/api/v1/admin/audit',
      summary: 'List who did what, newest first; `actor` is the id or the name of who did it',
      query: z.strictObject({
        ...pageQuery(),
        tenant_id: idFilter,
        actor: textOf(1, 200).optional(),
        action: z.enum(AUDIT_ACTIONS).optional(),
        since: timeInput.optional(),
        until: timeInput.optional(),
      }),
      response: listOf(auditEvent),
    },
    ({ query, services: { control } }) => {
      const { tenant_id: tenantId, actor, action, since, until } = query;
      const filter = { tenantId, actor, action, since, until };
      return toList(control.listAudit(filter, pageOf(query)), auditJson);
    },
  ),
];
