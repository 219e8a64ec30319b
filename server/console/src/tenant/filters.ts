/** How many days the charts may look back. */
export const SPANS = ['7', '30', '90'] as const;

export const TURN_STATUSES = ['ok', 'error', 'aborted'] as const;
export const CONFIG_TABS = ['edit', 'versions'] as const;
export const KEY_TABS = ['keys', 'providers'] as const;
