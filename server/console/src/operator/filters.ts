import type { paths } from '../api/schema.gen.ts';

/** How many days the charts may look back. */
export const SPANS = ['7', '30', '90'] as const;

export const TENANT_STATUSES = ['active', 'suspended', 'deleted'] as const;
export const TENANT_ORDERS = ['newest', 'oldest', 'name'] as const;
export const TENANT_TABS = ['usage', 'limits', 'keys', 'providers', 'backups', 'settings'] as const;

type AuditQuery = NonNullable<paths['/api/v1/admin/audit']['get']['parameters']['query']>;
type AuditAction = NonNullable<AuditQuery['action']>;
/** An object, so that the build says which action is missing here. */
const AUDITED: Record<AuditAction, true> = {
  'tenant.create': true,
  'tenant.adopt': true,
  'tenant.update': true,
  'tenant.clone': true,
  'tenant.import': true,
  'tenant.export': true,
  'tenant.restore': true,
  'tenant.quiesce': true,
  'tenant.delete': true,
  'tenant.undelete': true,
  'tenant.purge': true,
  'key.create': true,
  'key.rotate': true,
  'key.revoke': true,
  'provider_key.put': true,
  'provider_key.delete': true,
  'admin_token.create': true,
  'admin_token.replace': true,
  'admin_token.revoke': true,
  'master_key.rotate': true,
  'session.create': true,
  'session.delete': true,
  'backup.create': true,
  'backup.download': true,
  'fleet.migrate': true,
  'doctor.fix': true,
  'logs.prune': true,
  'usage.rebuild': true,
};
export const AUDIT_ACTIONS = Object.keys(AUDITED) as AuditAction[];
