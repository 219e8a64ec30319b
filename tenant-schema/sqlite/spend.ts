import { eq, sql } from 'drizzle-orm';
import { toTimestamp } from '../clock.ts';
import type { StoreContext } from './handle.ts';
import { spend } from './tables.ts';

/** What one UTC month's turns have cost, and what is held for those that still run. */
export interface MonthSpend {
  /** `YYYY-MM` */
  month: string;
  spentMicroUsd: number;
  reservedMicroUsd: number;
}

/** A turn's cost and what was held for it belong to the month in which it began, whenever it ends. */
export interface Spend {
  of(epochMs: number): MonthSpend;
  /** Only inside a transaction, like `settle`: holds what the turn may cost at most. */
  reserve(beganAt: number, microUsd: number): void;
  /** Gives back what was held, and adds what the turn has cost. */
  settle(beganAt: number, turn: { reservedMicroUsd: number; costMicroUsd: number }): void;
}

const monthOf = (epochMs: number): string => toTimestamp(epochMs).slice(0, 7);

/** When the UTC month of this moment is over. */
export function monthEnd(epochMs: number): number {
  const date = new Date(epochMs);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
}

export function spendOf({ orm, prepared }: StoreContext): Spend {
  const param = sql.placeholder;
  const byMonth = prepared(() =>
    orm
      .select()
      .from(spend)
      .where(eq(spend.month, param('month')))
      .prepare(),
  );
  const add = prepared(() =>
    orm
      .insert(spend)
      .values({ month: param('month'), spentMicroUsd: param('spent'), reservedMicroUsd: param('reserved') })
      .onConflictDoUpdate({
        target: spend.month,
        set: {
          spentMicroUsd: sql`${spend.spentMicroUsd} + excluded.spent_micro_usd`,
          reservedMicroUsd: sql`${spend.reservedMicroUsd} + excluded.reserved_micro_usd`,
        },
      })
      .prepare(),
  );

  return {
    of(epochMs) {
      const month = monthOf(epochMs);
      return byMonth().get({ month }) ?? { month, spentMicroUsd: 0, reservedMicroUsd: 0 };
    },

    reserve(beganAt, microUsd) {
      if (microUsd > 0) add().run({ month: monthOf(beganAt), spent: 0, reserved: microUsd });
    },

    settle(beganAt, { reservedMicroUsd, costMicroUsd }) {
      if (reservedMicroUsd === 0 && costMicroUsd === 0) return;
      add().run({ month: monthOf(beganAt), spent: costMicroUsd, reserved: -reservedMicroUsd });
    },
  };
}
