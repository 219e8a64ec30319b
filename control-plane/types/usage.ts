import type { Listing, Page, UsageDay } from '../../tenant-schema/store.ts';

/** What one tenant used on one UTC day. */
export interface TenantUsageDay {
  tenantId: string;
  usage: UsageDay;
}

/** Whole UTC days as `YYYY-MM-DD`: from `since` on, up to but without `until`. */
export interface UsageFilter {
  tenantId?: string | undefined;
  since?: string | undefined;
  until?: string | undefined;
}

/** A sum of days; what it is not by is null. */
export interface AdminUsageSum extends Omit<UsageDay, 'day'> {
  tenantId: string | null;
  day: string | null;
}

/** Whether all that was used is in control.db, and up to when (epoch milliseconds) it is in any case. */
export interface UsageState {
  complete: boolean;
  completeUntil: number;
}

export const TOP_ORDERS = ['turns', 'cost'] as const;
export type TopOrder = (typeof TOP_ORDERS)[number];

/** What tenants have used, by UTC day. */
export interface UsageVerbs {
  /** Adds to what tenants used, in one transaction; that of tenants that are not there is dropped. */
  addUsage(rows: readonly TenantUsageDay[]): void;
  /** Sets what a tenant used, day by day, to exactly this. Nothing happens for one that is not there. */
  replaceUsage(tenantId: string, days: readonly UsageDay[]): void;
  /** By tenant and day, newest day first. */
  listUsage(filter: UsageFilter, page: Page): Listing<AdminUsageSum>;
  /** By day, newest first, over all tenants or one. */
  sumUsageByDay(filter: UsageFilter, page: Page): Listing<AdminUsageSum>;
  /** By tenant, newest first. */
  sumUsageByTenant(filter: UsageFilter, page: Page): Listing<AdminUsageSum>;
  /**
   * Those tenants, of the ones not deleted, that had the most turns or cost the most, the first one first. Costs a
   * look at every day of every tenant in the range, some tenants at a time.
   */
  topTenants(filter: UsageFilter, by: TopOrder, limit: number): Promise<AdminUsageSum[]>;
  usageState(): UsageState;
  setUsageState(state: UsageState): void;
}
