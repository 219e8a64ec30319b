/** What a worker has given up for another process, tenant by tenant, until that one gives it back. */
export interface GivenUp {
  /** @param giving resolves when it is given up, with what ends that */
  giveUp(tenantId: string, giving: Promise<() => void>): Promise<void>;
  /** Ends it, also where it is only being given up: both may be asked for in the same moment. */
  takeBack(tenantId: string): Promise<void>;
}

export function createGivenUp(): GivenUp {
  const all = new Map<string, Promise<() => void>>();
  return {
    async giveUp(tenantId, giving) {
      all.set(tenantId, giving);
      await giving;
    },
    async takeBack(tenantId) {
      const giving = all.get(tenantId);
      all.delete(tenantId);
      (await giving)?.();
    },
  };
}
