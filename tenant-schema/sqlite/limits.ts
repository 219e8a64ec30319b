import { sql } from 'drizzle-orm';
import { toTimestamp } from '../clock.ts';
import { Fault, type FaultCode } from '../fault.ts';
import type { LimitStanding, TenantStore, TokenUsage, TurnDemand, TurnLimits } from '../store.ts';
import { type AdmissionWindow, admissionsOf, standingIn, WINDOW_MS } from './admissions.ts';
import type { StoreContext } from './handle.ts';
import { type MonthSpend, monthEnd, spendOf } from './spend.ts';
import { openTurns } from './tables.ts';

/** What a turn holds until it ends. */
export interface Holdings {
  /** Its place in the rolling minute. */
  admission: number | null;
  reservedMicroUsd: number;
}

export interface LimitVerbs
  extends Pick<TenantStore, 'standing' | 'spendOfMonth' | 'usedBytes' | 'runningTurns'> {
  /** To be called before the transaction of `admit`: what must be written even if the turn is refused. */
  prepare(limits: TurnLimits): void;
  /**
   * Only inside a transaction: holds what a turn is about to use.
   * @param closeLost closes the turns of which nobody will hear any more; whether there were any
   * @throws `rate_limited`, `concurrency_limited`, `budget_exceeded`
   */
  admit(
    turn: { id: string; createdAt: number },
    limits: TurnLimits,
    demand: TurnDemand,
    closeLost: () => boolean,
  ): Holdings & { standing: LimitStanding };
  /** Only inside a transaction: gives back what a turn has held, for what it has used. */
  settle(
    turn: Holdings & { id: string; createdAt: number },
    used: { usage: TokenUsage; costMicroUsd: number | null },
  ): void;
}

/** One limit that keeps a turn out. */
interface Obstacle {
  code: FaultCode & ('rate_limited' | 'concurrency_limited' | 'budget_exceeded');
  limit: string;
  sentence: string;
  /** Until the same turn would be admitted, where nothing else is used. Null where it never would be. */
  waitMs: number | null;
}

/** Nobody knows when another turn ends. */
const SOON_MS = 1000;

/** What a tenant has used, against what it may. Each limit is checked where it is reserved: in one transaction. */
export function limitVerbs(context: StoreContext): LimitVerbs {
  const { clock, orm, prepared } = context;
  const admissions = admissionsOf(context);
  const spend = spendOf(context);
  const openCount = prepared(() => orm.select({ count: sql<number>`count(*)` }).from(openTurns).prepare());
  const runningTurns = (): number => openCount().get()?.count ?? 0;

  const obstacles = (
    window: AdmissionWindow | null,
    createdAt: number,
    limits: TurnLimits,
    demand: TurnDemand,
  ): Obstacle[] => {
    const found: Obstacle[] = [];
    if (limits.monthlySpendMicroUsd !== null) {
      const obstacle = spendObstacle(limits.monthlySpendMicroUsd, spend.of(createdAt), demand, createdAt);
      if (obstacle) found.push(obstacle);
    }
    for (const refusal of window ? admissions.refusals(window, limits, demand) : []) {
      found.push({
        code: 'rate_limited',
        sentence: windowSentence(refusal.limit, limits, demand),
        ...refusal,
      });
    }
    const { concurrentTurns } = limits;
    if (concurrentTurns !== null && runningTurns() >= concurrentTurns) {
      found.push({
        code: 'concurrency_limited',
        limit: 'max_concurrent_turns',
        sentence:
          concurrentTurns === 0
            ? 'This tenant may run no turn.'
            : `This tenant may run ${concurrentTurns} turns at once, and as many are running; wait for the end of one.`,
        waitMs: concurrentTurns === 0 ? null : SOON_MS,
      });
    }
    return found;
  };

  return {
    prepare(limits) {
      const now = clock.now();
      if (admissions.isAhead(limits, now)) context.write(() => admissions.bringUp(limits, now));
    },

    admit({ id, createdAt }, limits, demand, closeLost) {
      const now = clock.now();
      let window = admissions.bringUp(limits, now);
      let found = obstacles(window, createdAt, limits, demand);
      // Looked for only where it matters: there may be thousands of open turns.
      if (found.length > 0 && closeLost()) {
        window = admissions.bringUp(limits, now);
        found = obstacles(window, createdAt, limits, demand);
      }
      if (found.length > 0) throw refusal(found, standingIn(window, limits));
      const admission = window && admissions.add(window, id, limits, demand);
      const reservedMicroUsd = limits.monthlySpendMicroUsd === null ? 0 : (demand.costMicroUsdMax ?? 0);
      spend.reserve(createdAt, reservedMicroUsd);
      return { admission, reservedMicroUsd, standing: standingIn(window, limits) };
    },

    settle({ id, createdAt, admission, reservedMicroUsd }, { usage, costMicroUsd }) {
      if (admission !== null) admissions.settle(id, admission, usage);
      spend.settle(createdAt, { reservedMicroUsd, costMicroUsd: costMicroUsd ?? 0 });
    },

    standing: (limits) => context.read(() => standingIn(admissions.look(limits, clock.now()), limits)),
    spendOfMonth: () => spend.of(clock.now()),
    usedBytes: () => context.usedBytes(),
    runningTurns,
  };
}

/** Of several limits, the one that keeps the turn out longest: with the others out of the way it would still be there. */
function refusal(found: Obstacle[], standing: LimitStanding): Fault {
  const longest = found.reduce((a, b) => ((b.waitMs ?? Infinity) > (a.waitMs ?? Infinity) ? b : a));
  const { code, sentence, limit } = longest;
  // Trying again later helps nobody there, but a 429 says when.
  const waitMs = longest.waitMs ?? (code === 'budget_exceeded' ? null : WINDOW_MS);
  const retryAfterSeconds = waitMs === null ? undefined : Math.max(1, Math.ceil(waitMs / 1000));
  return new Fault(code, sentence, {
    details: { limit, standing, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) },
  });
}

function windowSentence(limit: string, limits: TurnLimits, { inputTokens }: TurnDemand): string {
  if (limit === 'requests_per_minute') {
    return limits.requestsPerMinute === 0
      ? 'This tenant may begin no turn.'
      : `This tenant may begin ${limits.requestsPerMinute} turns in 60 seconds, and has.`;
  }
  const tokensMax = limits.tokensPerMinute ?? 0;
  return inputTokens > tokensMax
    ? `This turn sends about ${inputTokens} tokens, more than the ${tokensMax} that this tenant may use in 60 seconds; it is never admitted. Send less, or begin a new conversation.`
    : `This tenant may use ${tokensMax} tokens in 60 seconds; what is left does not hold the ${inputTokens} or so that this turn sends.`;
}

const usd = (microUsd: number): string => `$${microUsd / 1_000_000}`;

function spendObstacle(
  limitMicroUsd: number,
  { month, spentMicroUsd, reservedMicroUsd }: MonthSpend,
  { costMicroUsdMax }: TurnDemand,
  now: number,
): Obstacle | null {
  if (costMicroUsdMax === null) {
    throw new Fault(
      'pricing_unavailable',
      'This model has no price, and without one a limit on what is spent cannot be kept.',
    );
  }
  // What costs nothing exceeds nothing, also where a limit was set below what is spent.
  if (costMicroUsdMax === 0 || spentMicroUsd + reservedMicroUsd + costMicroUsdMax <= limitMicroUsd)
    return null;
  const end = monthEnd(now);
  const waitMs =
    costMicroUsdMax > limitMicroUsd
      ? null
      : spentMicroUsd + costMicroUsdMax > limitMicroUsd
        ? end - now
        : SOON_MS;
  const held = reservedMicroUsd > 0 ? ` and ${usd(reservedMicroUsd)} held for turns that run` : '';
  return {
    code: 'budget_exceeded',
    limit: 'monthly_spend_usd',
    sentence: `This turn may cost up to ${usd(costMicroUsdMax)}; of the ${usd(limitMicroUsd)} that this tenant may spend in ${month}, ${usd(spentMicroUsd)} are spent${held}. The month ends at ${toTimestamp(end)}.`,
    waitMs,
  };
}
