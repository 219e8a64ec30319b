/** Room in tenants' files that turns of several processes will need, counted in one place. */
export interface Reservations {
  /** @returns what all processes have reserved of the tenant's, this with it */
  reserve(holder: object, tenantId: string, bytes: number): number;
  /** To be called when what was reserved is in the file, or is not wanted any more. */
  free(holder: object, tenantId: string, bytes: number): void;
  /** Frees all that a process has reserved that has ended. */
  drop(holder: object): void;
}

export function createReservations(): Reservations {
  /** By tenant; none where nothing is reserved. */
  const totals = new Map<string, number>();
  const held = new Map<object, Map<string, number>>();

  const add = (sums: Map<string, number>, tenantId: string, bytes: number): number => {
    const sum = (sums.get(tenantId) ?? 0) + bytes;
    if (sum > 0) sums.set(tenantId, sum);
    else sums.delete(tenantId);
    return sum;
  };
  return {
    reserve(holder, tenantId, bytes) {
      const own = held.get(holder) ?? new Map<string, number>();
      held.set(holder, own);
      add(own, tenantId, bytes);
      return add(totals, tenantId, bytes);
    },
    free(holder, tenantId, bytes) {
      const own = held.get(holder);
      if (!own) return;
      add(own, tenantId, -bytes);
      add(totals, tenantId, -bytes);
    },
    drop(holder) {
      for (const [tenantId, bytes] of held.get(holder) ?? []) add(totals, tenantId, -bytes);
      held.delete(holder);
    },
  };
}
