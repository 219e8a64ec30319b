import { toTimestamp } from '../clock.ts';
import { Fault, notFound } from '../fault.ts';
import { idTime } from '../ids.ts';
import { mergeByKey, mergeMetadata } from '../json.ts';
import type {
  BegunTurn,
  Config,
  FailedTurn,
  FinishedTurn,
  MessageDraft,
  ReplayedTurn,
  TenantStore,
  TurnRequest,
  UsageDay,
} from '../store.ts';
import type { StoreContext } from './handle.ts';
import { idempotencyOf } from './idempotency.ts';
import { limitVerbs } from './limits.ts';
import type { LogVerbs } from './logs.ts';
import { parseMetadata, toDraft, toRow } from './messages.ts';
import type { conversations, openTurns } from './tables.ts';
import { openCallsOf, sizeOf, toInputMessages } from './turn-input.ts';
import { turnStatements } from './turn-statements.ts';
import type { UsageVerbs } from './usage.ts';

export type TurnVerbs = Pick<
  TenantStore,
  'beginTurn' | 'finishTurn' | 'failTurn' | 'standing' | 'spendOfMonth' | 'usedBytes' | 'runningTurns'
> & {
  /** Closes every open turn of a run that is over as `aborted`. Done whenever a file is opened. */
  closeDeadTurns(): void;
  /**
   * Only inside a transaction: closes what is left of a lost turn, and tells whether there was one.
   * @throws `conversation_busy` while one runs
   */
  requireFree(conversationId: string, isRunning: TurnRequest['isRunning']): boolean;
};

type ConversationRow = typeof conversations.$inferSelect;
type OpenTurnRow = typeof openTurns.$inferSelect;

/** A turn whose process died: nobody knows its figures any more. */
const DEAD: FailedTurn = {
  status: 'aborted',
  errorCode: 'server_stopped',
  latencyMs: 0,
  firstTokenMs: null,
  usage: {
    inputTokens: 0,
    outputTokens: 0,
    cachedInputTokens: 0,
    cacheWriteInputTokens: 0,
    reasoningTokens: 0,
  },
  usageEstimated: true,
  costMicroUsd: null,
  priceVersion: null,
  content: null,
};

/**
 * A turn is two transactions. The first takes the conversation by a row in `open_turns`; the second moves that
 * row to `turns` and adds the messages. Between them the conversation is untouched, so that a turn that fails,
 * or whose process dies, leaves nothing to undo.
 */
export function turnVerbs(
  context: StoreContext,
  getConfig: (id: string) => Config,
  log: Pick<UsageVerbs, 'addTurn'> & Pick<LogVerbs, 'addContent'>,
): TurnVerbs {
  const { writeBeyondLimit, writeUnpromised } = context;
  const statements = turnStatements(context);
  const limits = limitVerbs(context);
  const idempotency = idempotencyOf(context);

  /** Moves a turn from the open ones to the log; false where it is not open any more. */
  const closeTurn = (id: string, end: FinishedTurn | FailedTurn): boolean => {
    const [open] = statements.takeOpenTurn().all({ id });
    if (!open) return false;
    const { usage } = end;
    // Name by name: so many from two objects would make it a hash table, which takes several times the memory.
    statements.insertTurn().run({
      id,
      requestId: open.requestId,
      configId: open.configId,
      configVersion: open.configVersion,
      conversationId: open.conversationId,
      user: open.user,
      provider: open.provider,
      model: open.model,
      createdAt: open.createdAt,
      inputTokens: usage.inputTokens,
      outputTokens: usage.outputTokens,
      cachedInputTokens: usage.cachedInputTokens,
      cacheWriteInputTokens: usage.cacheWriteInputTokens,
      reasoningTokens: usage.reasoningTokens,
      status: end.status,
      errorCode: end.errorCode,
      latencyMs: Math.round(end.latencyMs),
      firstTokenMs: end.firstTokenMs === null ? null : Math.round(end.firstTokenMs),
      usageEstimated: end.usageEstimated ? 1 : 0,
      costMicroUsd: end.costMicroUsd,
      priceVersion: end.priceVersion,
    });
    if (end.content !== null) log.addContent(id, end.content);
    const day = toUsageDay(open.createdAt, end);
    log.addTurn({ ...day, configId: open.configId, model: open.model });
    limits.settle(open, end);
    if (open.idempotencyKeyHash !== null)
      idempotency.settle(open.idempotencyKeyHash, id, 'answer' in end ? end.answer : null);
    context.reportUsage(day);
    return true;
  };
  const closeDead = (open: OpenTurnRow): void => {
    // It may have cost something, but what is not known is not charged.
    const costMicroUsd = open.priceVersion === null ? null : 0;
    closeTurn(open.id, { ...DEAD, costMicroUsd, priceVersion: open.priceVersion });
    statements.deleteIfEmpty().run({ id: open.conversationId });
  };

  const requireConversation = (request: TurnRequest, id: string): ConversationRow => {
    const found = statements.conversationById().get({ id });
    if (!found || found.configId !== request.configId) throw notFound();
    return found;
  };
  // What runs in another process, nobody but that one knows: it settles its turns itself as long as it lives.
  const isAlive = (open: OpenTurnRow, isRunning: TurnRequest['isRunning']): boolean =>
    open.runId === context.runId ? isRunning(open.id) : context.isLiveRun(open.runId);
  const requireFree = (conversationId: string, isRunning: TurnRequest['isRunning']): boolean => {
    const open = statements.openTurnOf().get({ conversationId });
    if (!open) return false;
    if (isAlive(open, isRunning)) {
      throw new Fault(
        'conversation_busy',
        'Another turn of this conversation is running; wait for its end.',
        {
          details: { retryAfterSeconds: 1 },
        },
      );
    }
    closeDead(open);
    return true;
  };
  /** False where it runs. */
  const reap = (turnId: string, isRunning: TurnRequest['isRunning']): boolean => {
    const open = statements.openTurnById().get({ id: turnId });
    if (open && isAlive(open, isRunning)) return false;
    if (open) closeDead(open);
    return true;
  };
  const closeLost = (isRunning: TurnRequest['isRunning']): boolean => {
    const lost = statements
      .openTurns()
      .all()
      .filter((open) => !isAlive(open, isRunning));
    lost.forEach(closeDead);
    return lost.length > 0;
  };
  const openCallCount = (conversation: ConversationRow | null): number => {
    if (!conversation?.awaitingTools) return 0;
    const last = { conversationId: conversation.id, seq: conversation.messageCount };
    return statements.openCallCount().get(last)?.count ?? 0;
  };
  const readHistory = (conversation: ConversationRow, bytesMax: number): MessageDraft[] => {
    if (conversation.historyBytes > bytesMax) {
      throw new Fault(
        'history_too_long',
        `The conversation holds ${conversation.historyBytes} bytes, more than the ${bytesMax} that a turn may send; begin a new one.`,
      );
    }
    return statements.history().all({ conversationId: conversation.id }).map(toDraft);
  };
  return {
    beginTurn(request) {
      limits.prepare(request.limits);
      // A turn that has only begun is as good as none after a power cut, on the disk or not: it is closed then, and its
      // key and all that it holds are free.
      return writeUnpromised((): BegunTurn | ReplayedTurn => {
        const now = context.clock.now();
        // First of all: what was answered before uses nothing, and no limit keeps it back.
        const answer =
          request.idempotency &&
          idempotency.find(request.idempotency, now, (turnId) => reap(turnId, request.isRunning));
        if (answer) {
          // Maybe another process has written it this moment.
          context.promise();
          return { kind: 'replayed', answer };
        }
        context.requireRoom(request.storageBytesMax, request.storageBytesReserved);
        const config = getConfig(request.configId);
        const id = context.ids();
        const createdAt = idTime(id);

        let conversation: ConversationRow | null = null;
        if (request.conversationId !== null) {
          conversation = requireConversation(request, request.conversationId);
          const wasLost = requireFree(conversation.id, request.isRunning);
          // With a lost turn that was its first, it goes.
          if (wasLost) conversation = requireConversation(request, request.conversationId);
        }
        // Before up to `historyBytesMax` bytes are read for nothing.
        const demand = request.admit(
          config,
          sizeOf(conversation, request.input, openCallCount(conversation)),
        );
        const { standing, ...held } = limits.admit({ id, createdAt }, request.limits, demand, () =>
          closeLost(request.isRunning),
        );
        const past = conversation ? readHistory(conversation, request.historyBytesMax) : [];
        const input = toInputMessages(request.input, past, context.ids);
        const metadata = mergeMetadata(
          conversation ? parseMetadata(conversation.metadata) : {},
          request.metadata ?? {},
        );

        const conversationId = conversation?.id ?? context.ids();
        const user = request.user ?? conversation?.user ?? null;
        if (!conversation) {
          statements.insertConversation().run({
            id: conversationId,
            configId: config.id,
            user,
            metadata: JSON.stringify(metadata),
            now: createdAt,
          });
        }
        statements.insertOpenTurn().run({
          id,
          requestId: request.requestId,
          configId: config.id,
          configVersion: config.version,
          conversationId,
          user,
          provider: config.modelConfig.provider,
          model: config.modelConfig.model,
          createdAt,
          ...held,
          priceVersion: demand.priceVersion,
          idempotencyKeyHash: request.idempotency?.keyHash ?? null,
        });
        idempotency.expire(now);
        if (request.idempotency) idempotency.take(request.idempotency, id, now);
        return {
          kind: 'begun',
          id,
          conversationId,
          messageId: context.ids(),
          user: request.user,
          metadata: request.metadata,
          config,
          history: past,
          input,
          createdAt,
          standing,
        };
      });
    },

    finishTurn: (turn, end) =>
      writeBeyondLimit(() => {
        if (!closeTurn(turn.id, end)) return false;
        const conversation = statements.conversationById().get({ id: turn.conversationId });
        // An open turn keeps its conversation from being deleted.
        if (!conversation) throw new Error(`Conversation ${turn.conversationId} is gone under its turn.`);
        const now = context.clock.now();
        let historyBytes = conversation.historyBytes;
        end.messages.forEach((draft, index) => {
          const { row, bytes } = toRow(draft, {
            conversationId: conversation.id,
            seq: conversation.messageCount + index + 1,
            createdAt: draft.role === 'assistant' ? now : turn.createdAt,
          });
          historyBytes += bytes;
          statements.insertMessage().run({ ...row, isError: row.isError ? 1 : 0 });
        });
        statements.updateConversation().run({
          id: conversation.id,
          user: turn.user ?? conversation.user,
          metadata: turn.metadata
            ? JSON.stringify(mergeByKey(parseMetadata(conversation.metadata), turn.metadata))
            : conversation.metadata,
          messageCount: conversation.messageCount + end.messages.length,
          historyBytes,
          awaitingTools: openCallsOf(end.messages).length > 0 ? 1 : 0,
          updatedAt: now,
        });
        return true;
      }),

    failTurn: (turn, end) =>
      writeBeyondLimit(() => {
        if (!closeTurn(turn.id, end)) return false;
        statements.deleteIfEmpty().run({ id: turn.conversationId });
        return true;
      }),

    standing: limits.standing,
    spendOfMonth: limits.spendOfMonth,
    usedBytes: limits.usedBytes,
    runningTurns: limits.runningTurns,
    requireFree,

    closeDeadTurns() {
      // Looked at before the transaction: a file with nothing to close is opened without a write.
      const deadTurns = (): OpenTurnRow[] =>
        statements
          .openTurnsOfOtherRuns()
          .all()
          .filter(({ runId }) => !context.isLiveRun(runId));
      if (deadTurns().length === 0) return;
      writeBeyondLimit(() => deadTurns().forEach(closeDead));
    },
  };
}

/** One turn as the usage of its day. */
const toUsageDay = (
  createdAt: number,
  { status, usage, costMicroUsd }: FinishedTurn | FailedTurn,
): UsageDay => ({
  day: toTimestamp(createdAt).slice(0, 10),
  turns: 1,
  errors: status === 'error' ? 1 : 0,
  usage,
  costMicroUsd: costMicroUsd ?? 0,
  unpricedTurns: costMicroUsd === null ? 1 : 0,
});
