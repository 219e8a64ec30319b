import { setTimeout as setTimeoutPromise } from 'node:timers/promises';
import type { TenantIdentity } from '../../control-plane/types.ts';
import type { Clock } from '../../tenant-schema/clock.ts';
import type { TenantEngine } from '../../tenant-schema/engine.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { isRefusedParameter } from '../../tenant-schema/model-config.ts';
import { expectedBytes } from '../../tenant-schema/room.ts';
import type {
  BegunTurn,
  Config,
  JsonObject,
  TenantStore,
  ToolConfig,
  TurnFigures,
  TurnStatus,
} from '../../tenant-schema/store.ts';
import { isProviderName, PROVIDERS, type ProviderName } from '../providers/catalogue.ts';
import type { Provider, ProviderRequest, ToolDefinition } from '../providers/provider.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Agent, ChatAnswer, ChatRequest, Turn, TurnEvent } from './agent.ts';
import { Answer } from './answer.ts';
import { RunningTurns } from './running.ts';
import { renderTemplate } from './template.ts';
import { UnsettledTurns } from './unsettled.ts';

/** How long the end of a turn waits for a locked file, again and again, before it is given up. */
const SETTLE_WAITS_MS = [20, 50, 100, 200, 500, 1000, 1000, 1000, 2000, 2000];

export interface AgentParts {
  engine: TenantEngine;
  providers: {
    /** Whether everything a call to this provider needs is configured. */
    ready(name: ProviderName): boolean;
    get(name: ProviderName): Provider;
  };
  clock: Clock;
  ids: IdMaker;
  log: { error(fields: object, message: string): void };
  metrics: Pick<Metrics, 'turn'>;
  /** History over this many bytes refuses the turn. */
  historyBytesMax: number;
  /** A model's answer must be whole after this time. */
  totalTimeoutMs: number;
}

export function createAgent(parts: AgentParts): Agent {
  const { engine, providers, clock } = parts;
  const running = new RunningTurns();
  const unsettled = new UnsettledTurns(engine);

  return {
    isRunning: (turnId) => running.has(turnId),

    async begin(request) {
      const tenantId = request.identity.tenant.id;
      const controller = new AbortController();
      const bytes = expectedBytes(request.input);
      let system = '';
      for (;;) {
        await running.unpaused(tenantId);
        await unsettled.settle(tenantId);
        const begun = await engine.use(tenantId, (store) => {
          // A pause may have begun while a handle was waited for.
          if (running.isPaused(tenantId)) return null;
          const turn = store.beginTurn({
            requestId: request.requestId,
            configId: request.configId,
            conversationId: request.conversationId,
            user: request.user,
            metadata: request.metadata,
            input: request.input,
            historyBytesMax: parts.historyBytesMax,
            storageBytesMax: request.identity.tenant.limits.storage_bytes_max,
            storageBytesReserved: running.bytesOf(tenantId) + bytes,
            admit(config) {
              requireProvider(config, request.identity, providers);
              // Here, where what is wrong with it still refuses the turn.
              system = renderSystem(config, request, clock);
            },
            isRunning: (turnId) => running.has(turnId),
          });
          // In the same tick as the transaction, so that no other turn can take this one for lost.
          running.add(turn.id, { tenantId, bytes, controller });
          return turn;
        });
        if (begun) {
          const admitted = { tenantId, begun, system, controller };
          return createTurn(parts, admitted, unsettled, () => running.remove(begun.id));
        }
      }
    },

    paused: (tenantId, reason, work) => running.paused(tenantId, reason, work),
    async drain(deadlineMs) {
      await running.drain(deadlineMs);
      await unsettled.settleAll();
    },
  };
}

/** @throws `provider_not_allowed`, `provider_not_configured` */
function requireProvider(
  config: Config,
  { tenant }: TenantIdentity,
  providers: AgentParts['providers'],
): ProviderName {
  const name = config.modelConfig.provider;
  if (tenant.limits.providers !== null && !tenant.limits.providers.includes(name)) {
    throw new Fault('provider_not_allowed', `This tenant may not use the provider "${name}".`);
  }
  if (!isProviderName(name))
    throw new Fault('provider_not_configured', `This server has no provider "${name}".`);
  if (!providers.ready(name)) {
    throw new Fault(
      'provider_not_configured',
      `The provider "${name}" has no API key; the operator sets ${name.toUpperCase()}_API_KEY and restarts the server.`,
    );
  }
  return name;
}

interface AdmittedTurn {
  tenantId: string;
  begun: BegunTurn;
  /** The rendered system prompt. */
  system: string;
  controller: AbortController;
}

function createTurn(
  parts: AgentParts,
  admitted: AdmittedTurn,
  unsettled: UnsettledTurns,
  onSettled: () => void,
): Turn {
  const { clock } = parts;
  const { tenantId, begun, controller } = admitted;
  const provider = begun.config.modelConfig.provider as ProviderName;
  const startedAt = clock.monotonic();
  let firstTokenAt: number | null = null;

  const question = toProviderRequest(begun, admitted.system);
  const answer = new Answer(question, parts.ids);

  const figures = (usage: Pick<TurnFigures, 'usage' | 'usageEstimated'>): TurnFigures => ({
    ...usage,
    latencyMs: clock.monotonic() - startedAt,
    firstTokenMs: firstTokenAt === null ? null : firstTokenAt - startedAt,
    costMicroUsd: PROVIDERS[provider].free ? 0 : null,
  });

  /** Asks the model until its answer is whole. @throws a provider's fault, or the reason of the abort */
  const ask = async (emit: (event: TurnEvent) => void | Promise<void>): Promise<void> => {
    const { signal } = controller;
    signal.throwIfAborted();
    const aborted = whenAborted(signal);
    for await (const event of parts.providers.get(provider).stream(question, { signal })) {
      const told = answer.add(event);
      if (told) {
        firstTokenAt ??= clock.monotonic();
        // A client that takes nothing off its connection must not hold the turn past its abort.
        const taken = emit(told);
        if (taken) await Promise.race([taken, aborted]);
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
    const stored = await settle((store) =>
      store.finishTurn(begun, {
        ...end,
        status: 'ok',
        errorCode: null,
        messages: [...begun.input, answer.toMessage(begun.messageId)],
      }),
    );
    if (!stored) throw replaced();
    report('ok', end);
    return {
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
    const aborted = controller.signal.aborted && fault.code !== 'upstream_timeout';
    const status = aborted ? 'aborted' : 'error';
    const errorCode = fault.code;
    const end = figures(answer.brokenUsage(aborted));
    const write = (store: TenantStore): boolean =>
      aborted && answer.hasText
        ? store.finishTurn(begun, {
            ...end,
            status: 'aborted',
            errorCode,
            messages: [...begun.input, answer.toPartialMessage(begun.messageId)],
          })
        : store.failTurn(begun, { ...end, status, errorCode });
    try {
      await settle(write);
    } catch (error) {
      // The open turn is no longer running: where its end cannot be kept, whoever touches its conversation closes it.
      unsettled.add(tenantId, write, error);
      parts.log.error({ err: error, tenant_id: tenantId, turn_id: begun.id }, 'a turn could not be settled');
    }
    report(status, end);
  };

  const report = (status: TurnStatus, end: TurnFigures): void =>
    parts.metrics.turn({ provider, status, latencyMs: end.latencyMs, firstTokenMs: end.firstTokenMs });

  return {
    conversationId: begun.conversationId,
    messageId: begun.messageId,

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
      if (clientGone.aborted) leave();
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
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => {});
  return aborted;
}

const renderSystem = (config: Config, request: ChatRequest, clock: Clock): string =>
  renderTemplate(config.systemPrompt, {
    ...request.templateVars,
    tenant_name: request.identity.tenant.name,
    agent_name: config.name,
    date: new Date(clock.now()).toISOString().slice(0, 10),
  });

function toProviderRequest(begun: BegunTurn, system: string): ProviderRequest {
  const { provider: _, model, ...rest } = begun.config.modelConfig;
  // Refused wherever a config comes in; whatever way one came, it does not change who is asked or what is charged.
  const parameters = Object.fromEntries(Object.entries(rest).filter(([name]) => !isRefusedParameter(name)));
  return {
    model,
    system,
    messages: [...begun.history, ...begun.input],
    tools: begun.config.toolsConfig.map(toToolDefinition),
    parameters,
  };
}

/** What a tool without a schema takes: any object. */
const ANY_OBJECT: JsonObject = { type: 'object', properties: {}, additionalProperties: true };

const toToolDefinition = (tool: ToolConfig): ToolDefinition =>
  typeof tool === 'string'
    ? { name: tool, description: null, parameters: ANY_OBJECT }
    : { name: tool.name, description: tool.description ?? null, parameters: tool.parameters ?? ANY_OBJECT };
