import { setTimeout as setTimeoutPromise } from 'node:timers/promises';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { isRefusedParameter } from '../../tenant-schema/model-config.ts';
import type {
  BegunTurn,
  JsonObject,
  TenantStore,
  ToolConfig,
  TurnFigures,
  TurnStatus,
} from '../../tenant-schema/store.ts';
import type { ModelPrice } from '../pricing/pricing.ts';
import type { ProviderName } from '../providers/catalogue.ts';
import type { Provider, ProviderRequest, ToolDefinition } from '../providers/provider.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { ChatAnswer, ChatRequest, Turn, TurnEvent } from './agent.ts';
import { Answer } from './answer.ts';
import { contentOf } from './content.ts';
import type { UnsettledTurns } from './unsettled.ts';

/** A turn that holds its conversation, and what was found out while it was admitted. */
export interface AdmittedTurn {
  request: ChatRequest;
  begun: BegunTurn;
  /** The rendered system prompt. */
  system: string;
  /** The tenant's own key at the provider; null where the server's is used. */
  ownKey: string | null;
  /** As it was when the turn began. */
  price: ModelPrice | null;
  /** What the model is told where the config does not bound its answer. */
  outputTokensMax: number | null;
  controller: AbortController;
}

/** What a turn needs to be run. */
export interface TurnParts {
  engine: TenantEngine;
  providers: { get(name: ProviderName, ownKey: string | null): Provider };
  clock: Clock;
  ids: IdMaker;
  log: { error(fields: object, message: string): void };
  metrics: Pick<Metrics, 'turn'>;
  unsettled: Pick<UnsettledTurns, 'add'>;
  /** A model's answer must be whole after this time. */
  totalTimeoutMs: number;
}

/** How long the end of a turn waits for a locked file, again and again, before it is given up. */
const SETTLE_WAITS_MS = [20, 50, 100, 200, 500, 1000, 1000, 1000, 2000, 2000];

/** @param onSettled called once, when the turn is settled or given up. */
export function createTurn(parts: TurnParts, admitted: AdmittedTurn, onSettled: () => void): Turn {
  const { clock } = parts;
  const { request, begun, price, controller } = admitted;
  const { tenant } = request.identity;
  const tenantId = tenant.id;
  const provider = begun.config.modelConfig.provider as ProviderName;
  const startedAt = clock.monotonic();
  let firstTokenAt: number | null = null;
  let isAsked = false;

  const question = toProviderRequest(admitted);
  const answer = new Answer(question, parts.ids);

  const figures = (usage: Pick<TurnFigures, 'usage' | 'usageEstimated'>): TurnFigures => ({
    ...usage,
    latencyMs: clock.monotonic() - startedAt,
    firstTokenMs: firstTokenAt === null ? null : firstTokenAt - startedAt,
    costMicroUsd: price?.cost(usage.usage) ?? null,
    priceVersion: price?.version ?? null,
    content: tenant.settings.log_content
      ? contentOf(begun.input, answer, { redact: tenant.settings.redact_secrets })
      : null,
  });

  /** Asks the model until its answer is whole. @throws a provider's fault, or the reason of the abort */
  const ask = async (emit: (event: TurnEvent) => void | Promise<void>): Promise<void> => {
    const { signal } = controller;
    signal.throwIfAborted();
    let aborted: Promise<never> | null = null;
    isAsked = true;
    for await (const event of parts.providers.get(provider, admitted.ownKey).stream(question, { signal })) {
      const told = answer.add(event);
      if (told) {
        firstTokenAt ??= clock.monotonic();
        // A client that takes nothing off its connection must not hold the turn past its abort.
        const taken = emit(told);
        if (taken) {
          aborted ??= whenAborted(signal);
          await Promise.race([taken, aborted]);
        }
      }
      // Once the answer is whole it is kept, whoever has left.
      if (event.type !== 'end') signal.throwIfAborted();
    }
    if (answer.finishReason === null) {
      throw new Fault('upstream_invalid', `The provider "${provider}" ended its answer without a reason.`);
    }
  };

  const finish = async (): Promise<ChatAnswer> => {
    const end = figures(answer.finalUsage());
    const told: ChatAnswer = {
      response: answer.text,
      conversationId: begun.conversationId,
      messageId: begun.messageId,
      toolCalls: answer.toolCalls,
      finishReason: answer.finishReason ?? 'stop',
      model: begun.config.modelConfig.model,
      usage: end.usage,
      usageEstimated: end.usageEstimated,
      costMicroUsd: end.costMicroUsd,
    };
    const stored = await settle((store) =>
      store.finishTurn(begun, {
        ...end,
        status: 'ok',
        errorCode: null,
        messages: [...begun.input, answer.toMessage(begun.messageId)],
        answer: request.idempotency && { ...told },
      }),
    );
    if (!stored) throw replaced();
    report('ok', end);
    return told;
  };

  /** Writes the end of the turn. What keeps it from being written may pass: another program's lock on the file. */
  const settle = async (write: (store: TenantStore) => boolean): Promise<boolean> => {
    for (const waitMs of SETTLE_WAITS_MS) {
      try {
        return await parts.engine.use(tenantId, write);
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== 'overloaded') throw error;
        await setTimeoutPromise(waitMs);
      }
    }
    return parts.engine.use(tenantId, write);
  };

  /** Settles a turn that has no whole answer. Never throws: the caller has a better reason to tell. */
  const settleBroken = async (fault: Fault): Promise<void> => {
    const isEnded = controller.signal.aborted;
    const aborted = isEnded && fault.code !== 'upstream_timeout';
    const status = aborted ? 'aborted' : 'error';
    const errorCode = fault.code;
    // Whom we have cut off was at work, also where it took too long.
    const end = figures(answer.brokenUsage(isAsked && isEnded));
    const write = (store: TenantStore): boolean =>
      // A request that may come again begins where this one did.
      aborted && answer.hasText && !request.idempotency
        ? store.finishTurn(begun, {
            ...end,
            status: 'aborted',
            errorCode,
            messages: [...begun.input, answer.toPartialMessage(begun.messageId)],
            answer: null,
          })
        : store.failTurn(begun, { ...end, status, errorCode });
    try {
      await settle(write);
    } catch (error) {
      // The open turn is no longer running: where its end cannot be kept, whoever touches its conversation closes it.
      parts.unsettled.add(tenantId, write, error);
      parts.log.error({ err: error, tenant_id: tenantId, turn_id: begun.id }, 'a turn could not be settled');
    }
    report(status, end);
  };

  const report = (status: TurnStatus, end: TurnFigures): void =>
    parts.metrics.turn({ provider, status, latencyMs: end.latencyMs, firstTokenMs: end.firstTokenMs });

  return {
    kind: 'begun',
    conversationId: begun.conversationId,
    messageId: begun.messageId,
    standing: begun.standing,

    async run(clientGone, emit) {
      const leave = (): void =>
        controller.abort(new Fault('client_closed_request', 'The client closed the connection.'));
      const timer = setTimeout(
        () =>
          controller.abort(
            new Fault(
              'upstream_timeout',
              `The provider "${provider}" did not finish its answer within ${parts.totalTimeoutMs / 1000} s.`,
            ),
          ),
        parts.totalTimeoutMs,
      );
      if (request.idempotency) {
        // Whoever may ask again is answered then: the turn is not its client's to end.
      } else if (clientGone.aborted) leave();
      else clientGone.addEventListener('abort', leave, { once: true });
      try {
        await ask(emit);
        return await finish();
      } catch (error) {
        const { aborted, reason } = controller.signal;
        if (aborted && error !== reason) {
          parts.log.error(
            { err: error, tenant_id: tenantId, turn_id: begun.id },
            'a turn failed while it was aborted',
          );
        }
        const fault = toFault(aborted ? reason : error);
        await settleBroken(fault);
        throw fault;
      } finally {
        clearTimeout(timer);
        clientGone.removeEventListener('abort', leave);
        onSettled();
      }
    },
  };
}

const replaced = (): Fault =>
  new Fault('tenant_unavailable', 'The data of this tenant was replaced while the turn ran.');

const toFault = (error: unknown): Fault =>
  error instanceof Fault
    ? error
    : new Fault('internal_error', 'The server failed to answer; its log says why.', { cause: error });

/** Rejects with the signal's reason when it is aborted; nobody has to listen. */
function whenAborted(signal: AbortSignal): Promise<never> {
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => {});
  return aborted;
}

function toProviderRequest({ begun, system, outputTokensMax }: AdmittedTurn): ProviderRequest {
  const { provider: _, model, ...rest } = begun.config.modelConfig;
  // Refused wherever a config comes in; whatever way one came, it does not change who is asked or what is charged.
  const parameters = Object.fromEntries(Object.entries(rest).filter(([name]) => !isRefusedParameter(name)));
  return {
    model,
    system,
    messages: [...begun.history, ...begun.input],
    tools: begun.config.toolsConfig.map(toToolDefinition),
    parameters,
    outputTokensMax,
  };
}

/** What a tool without a schema takes: any object. */
const ANY_OBJECT: JsonObject = { type: 'object', properties: {}, additionalProperties: true };

const toToolDefinition = (tool: ToolConfig): ToolDefinition =>
  typeof tool === 'string'
    ? { name: tool, description: null, parameters: ANY_OBJECT }
    : { name: tool.name, description: tool.description ?? null, parameters: tool.parameters ?? ANY_OBJECT };
