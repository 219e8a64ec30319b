/** What the first process has taken from its workers, tenant by tenant, until it gives it back. */
export interface Claims<Reason> {
  /** Runs `work` while the tenant is taken. Several may take it at once: it is given back by the last. */
  during<T>(tenantId: string, reason: Reason, work: () => Promise<T>): Promise<T>;
  /** What a worker that joins has to be told. */
  claimed(): [tenantId: string, reason: Reason][];
}

/** @param take resolves when every worker has given it; `giveBack` is called where the last has let go of it */
export function createClaims<Reason = null>(
  take: (tenantId: string, reason: Reason) => Promise<void>,
  giveBack: (tenantId: string) => void,
): Claims<Reason> {
  const claims = new Map<string, { reason: Reason; holders: number; taken: Promise<void> }>();
  return {
    async during(tenantId, reason, work) {
      let claim = claims.get(tenantId);
      if (!claim) {
        claim = { reason, holders: 0, taken: take(tenantId, reason) };
        claims.set(tenantId, claim);
      }
      claim.holders += 1;
      try {
        await claim.taken;
        return await work();
      } finally {
        claim.holders -= 1;
        if (claim.holders === 0) {
          claims.delete(tenantId);
          giveBack(tenantId);
        }
      }
    },
    claimed: () => [...claims].map(([tenantId, { reason }]) => [tenantId, reason]),
  };
}
