/** How many days the charts may look back. */
export const SPANS = ['7', '30', '90'] as const;

export const TENANT_STATUSES = ['active', 'suspended', 'deleted'] as const;
export const TENANT_ORDERS = ['newest', 'oldest', 'name'] as const;
export const TENANT_TABS = ['usage', 'limits', 'keys', 'providers', 'backups', 'settings'] as const;
