import type { TenantIdentity, TenantLimits } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { expectedBytes } from '../../tenant-schema/room.ts';
import type { BegunTurn, Config, ReplayedTurn, TenantStore, TurnLimits } from '../../tenant-schema/store.ts';
import type { ModelPrice, Pricing } from '../pricing/pricing.ts';
import { isProviderName, type ProviderName } from '../providers/catalogue.ts';
import type { Agent, ChatAnswer, ChatRequest, ReplayedAnswer, Turn } from './agent.ts';
import { demandOf } from './demand.ts';
import { RunningTurns } from './running.ts';
import { renderTemplate } from './template.ts';
import { createTurn, type TurnParts } from './turn.ts';
import { UnsettledTurns } from './unsettled.ts';

export interface AgentParts extends Omit<TurnParts, 'unsettled'> {
  providers: TurnParts['providers'] & {
    /** Whether everything a call to this provider needs is configured. */
    ready(name: ProviderName, ownKey: string | null): boolean;
    /** What the tenant is told where it is not. */
    notReady(name: ProviderName): Fault;
  };
  /** The tenant's own key at a provider; null where it has none. @throws where it cannot be opened */
  ownKeyOf(tenantId: string, provider: ProviderName): string | null;
  pricing: Pick<Pricing, 'priceOf'>;
  /**
   * Where other processes run turns of the same tenant: reserves room in its file. Gives what all have reserved there,
   * and what frees it again.
   */
  reserveRoom?: ((tenantId: string, bytes: number) => Promise<ReservedRoom>) | undefined;
  /** History over this many bytes refuses the turn. */
  historyBytesMax: number;
}

export interface ReservedRoom {
  bytesOfAll: number;
  free(): void;
}

/** Admits turns and hands them out to be run. */
export function createAgent(parts: AgentParts): Agent {
  const { engine, providers, clock } = parts;
  const running = new RunningTurns();
  const unsettled = new UnsettledTurns(engine);

  const admit = async (
    request: ChatRequest,
    bytes: number,
    room: ReservedRoom | undefined,
  ): Promise<Turn | ReplayedAnswer> => {
    const { tenant } = request.identity;
    const limits = turnLimits(tenant.limits);
    const controller = new AbortController();
    let system = '';
    let ownKey: string | null = null;
    let price: ModelPrice | null = null;
    let outputTokensMax: number | null = null;
    let taken = null as BegunTurn | null;
    const toTurn = (begun: BegunTurn, onSettled: () => void): Turn => {
      const admitted = { request, begun, system, ownKey, price, outputTokensMax, controller };
      return createTurn({ ...parts, unsettled }, admitted, () => {
        running.remove(begun.id);
        onSettled();
      });
    };
    /** What was taken in the file when it turned out that the disk fails: no more is done than to end it. */
    const giveUp = async (reason: unknown): Promise<never> => {
      controller.abort(reason);
      if (taken)
        await toTurn(taken, () => {})
          .run(controller.signal, () => {})
          .catch(() => {});
      throw reason;
    };
    for (;;) {
      await running.unpaused(tenant.id);
      await unsettled.settle(tenant.id);
      const begin = (store: TenantStore): BegunTurn | ReplayedTurn | null => {
        // A pause may have begun while a handle was waited for.
        if (running.isPaused(tenant.id)) return null;
        const turn = store.beginTurn({
          requestId: request.requestId,
          configId: request.configId,
          conversationId: request.conversationId,
          user: request.user,
          metadata: request.metadata,
          input: request.input,
          historyBytesMax: parts.historyBytesMax,
          storageBytesMax: tenant.limits.storage_bytes_max,
          storageBytesReserved: room?.bytesOfAll ?? running.bytesOf(tenant.id) + bytes,
          limits,
          idempotency: request.idempotency,
          admit(config, size) {
            const provider = requireProvider(config, request.identity);
            ownKey = parts.ownKeyOf(tenant.id, provider);
            if (!providers.ready(provider, ownKey)) throw providers.notReady(provider);
            // Here, where what is wrong with it still refuses the turn.
            system = renderSystem(config, request, clock);
            price = parts.pricing.priceOf(provider, config.modelConfig.model, config.modelConfig);
            const reckoned = demandOf({ config, system, size, price, limits });
            outputTokensMax = reckoned.outputTokensMax;
            return reckoned.demand;
          },
          isRunning: (turnId) => running.has(turnId),
        });
        // In the same tick as the transaction, so that no other turn can take this one for lost.
        if (turn.kind === 'begun') {
          taken = turn;
          running.add(turn.id, { tenantId: tenant.id, bytes, controller });
        }
        return turn;
      };
      const begun = await engine.use(tenant.id, begin).catch(giveUp);
      if (begun?.kind === 'replayed') {
        // Put there by `finishTurn` out of such an answer.
        return { kind: 'replayed', answer: begun.answer as unknown as ChatAnswer };
      }
      if (begun) return toTurn(begun, () => room?.free());
    }
  };

  return {
    isRunning: (turnId) => running.has(turnId),

    async begin(request) {
      const { tenant } = request.identity;
      const bytes = expectedBytes(request.input);
      // Only where the limit is set: it is a question to another process.
      const room =
        tenant.limits.storage_bytes_max === null ? undefined : await parts.reserveRoom?.(tenant.id, bytes);
      try {
        const turn = await admit(request, bytes, room);
        if (turn.kind === 'replayed') room?.free();
        return turn;
      } catch (error) {
        room?.free();
        throw error;
      }
    },

    paused: (tenantId, reason, work) =>
      running.paused(tenantId, reason, async () => {
        // What has cost something is said in the data that are about to be replaced, if they can be written at all.
        await unsettled.settle(tenantId).catch(() => {});
        return work();
      }),
    settleLeft: () => unsettled.settleAll(),
    async drain(deadlineMs) {
      await running.drain(deadlineMs);
      await unsettled.settleAll();
    },
  };
}

/** A tenant's limits as its file is asked to keep them. */
export const turnLimits = (limits: TenantLimits): TurnLimits => ({
  requestsPerMinute: limits.requests_per_minute,
  tokensPerMinute: limits.tokens_per_minute,
  concurrentTurns: limits.max_concurrent_turns,
  monthlySpendMicroUsd: limits.monthly_spend_usd === null ? null : Math.round(limits.monthly_spend_usd * 1e6),
});

/** @throws `provider_not_allowed`, `provider_not_configured` */
function requireProvider(config: Config, { tenant }: TenantIdentity): ProviderName {
  const name = config.modelConfig.provider;
  if (tenant.limits.providers !== null && !tenant.limits.providers.includes(name)) {
    throw new Fault('provider_not_allowed', `This tenant may not use the provider "${name}".`, {
      details: { limit: 'providers' },
    });
  }
  if (!isProviderName(name))
    throw new Fault('provider_not_configured', `This server has no provider "${name}".`);
  return name;
}

const renderSystem = (config: Config, request: ChatRequest, clock: Clock): string =>
  renderTemplate(config.systemPrompt, {
    ...request.templateVars,
    tenant_name: request.identity.tenant.name,
    agent_name: config.name,
    date: new Date(clock.now()).toISOString().slice(0, 10),
  });
