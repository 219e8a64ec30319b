import { Fault, notFound } from '../fault.ts';
import { idTime } from '../ids.ts';
import { mergeByKey, mergeMetadata } from '../json.ts';
import type {
  BegunTurn,
  Config,
  FailedTurn,
  FinishedTurn,
  MessageDraft,
  TenantStore,
  ToolCall,
  TurnInput,
  TurnRequest,
} from '../store.ts';
import { CANCELLED_CONTENT, matchToolResults } from '../tool-calls.ts';
import type { StoreContext } from './handle.ts';
import { parseMetadata, toDraft, toRow } from './messages.ts';
import type { conversations, openTurns } from './tables.ts';
import { turnStatements } from './turn-statements.ts';

export type TurnVerbs = Pick<TenantStore, 'beginTurn' | 'finishTurn' | 'failTurn'> & {
  /** Closes every open turn of another run as `aborted`. Done whenever a file is opened. */
  closeDeadTurns(): void;
  /** Only inside a transaction: closes what is left of a lost turn. @throws `conversation_busy` while one runs */
  requireFree(conversationId: string, isRunning: TurnRequest['isRunning']): void;
};

type ConversationRow = typeof conversations.$inferSelect;
type OpenTurnRow = typeof openTurns.$inferSelect;

/** A turn whose process died: nobody knows its figures any more. */
const DEAD: FailedTurn = {
  status: 'aborted',
  errorCode: 'server_stopped',
  latencyMs: 0,
  firstTokenMs: null,
  usage: { inputTokens: 0, outputTokens: 0, cachedInputTokens: 0, reasoningTokens: 0 },
  usageEstimated: true,
  costMicroUsd: null,
};

/**
 * A turn is two transactions. The first takes the conversation by a row in `open_turns`; the second moves that
 * row to `turns` and adds the messages. Between them the conversation is untouched, so that a turn that fails,
 * or whose process dies, leaves nothing to undo.
 */
export function turnVerbs(context: StoreContext, getConfig: (id: string) => Config): TurnVerbs {
  const { write, writeBeyondLimit } = context;
  const statements = turnStatements(context);

  /** Moves a turn from the open ones to the log; false where it is not open any more. */
  const closeTurn = (id: string, end: FinishedTurn | FailedTurn): boolean => {
    const [open] = statements.takeOpenTurn().all({ id });
    if (!open) return false;
    const { runId: _, ...row } = open;
    statements.insertTurn().run({
      ...row,
      ...end.usage,
      status: end.status,
      errorCode: end.errorCode,
      latencyMs: Math.round(end.latencyMs),
      firstTokenMs: end.firstTokenMs === null ? null : Math.round(end.firstTokenMs),
      usageEstimated: end.usageEstimated ? 1 : 0,
      costMicroUsd: end.costMicroUsd,
    });
    return true;
  };
  const closeDead = (open: OpenTurnRow): void => {
    closeTurn(open.id, DEAD);
    statements.deleteIfEmpty().run({ id: open.conversationId });
  };

  const requireConversation = (request: TurnRequest, id: string): ConversationRow => {
    const found = statements.conversationById().get({ id });
    if (!found || found.configId !== request.configId) throw notFound();
    return found;
  };
  const requireFree = (conversationId: string, isRunning: TurnRequest['isRunning']): void => {
    const open = statements.openTurnOf().get({ conversationId });
    if (!open) return;
    if (open.runId === context.runId && isRunning(open.id)) {
      throw new Fault(
        'conversation_busy',
        'Another turn of this conversation is running; wait for its end.',
        {
          details: { retryAfterSeconds: 1 },
        },
      );
    }
    closeDead(open);
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
  /** What the client brings, as messages; checks that it fits what the conversation waits for. */
  const toInputMessages = (input: TurnInput, past: MessageDraft[]): MessageDraft[] => {
    const openCalls = openCallsOf(past);
    if (input.kind === 'tool_results') {
      return matchToolResults(openCalls, input.results).map(({ call, content, isError }) =>
        toolMessage(context.ids(), call, content, isError),
      );
    }
    if (openCalls.length > 0 && !input.cancelToolCalls) {
      throw new Fault(
        'tool_results_pending',
        'The conversation waits for tool results; post them, or set "cancel_tool_calls".',
        { details: { openCalls } },
      );
    }
    return [
      ...openCalls.map((call) => toolMessage(context.ids(), call, CANCELLED_CONTENT, true)),
      { role: 'user', id: context.ids(), content: input.text },
    ];
  };

  return {
    beginTurn: (request) =>
      write((): BegunTurn => {
        context.requireRoom(request.storageBytesMax, request.storageBytesReserved);
        const config = getConfig(request.configId);
        const id = context.ids();
        const createdAt = idTime(id);

        let conversation: ConversationRow | null = null;
        if (request.conversationId !== null) {
          conversation = requireConversation(request, request.conversationId);
          requireFree(conversation.id, request.isRunning);
        }
        // Before up to `historyBytesMax` bytes are read for nothing.
        request.admit(config);
        const past = conversation ? readHistory(conversation, request.historyBytesMax) : [];
        const input = toInputMessages(request.input, past);
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
        });
        return {
          id,
          conversationId,
          messageId: context.ids(),
          user: request.user,
          metadata: request.metadata,
          config,
          history: past,
          input,
          createdAt,
        };
      }),

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

    requireFree,

    closeDeadTurns() {
      // Looked at before the transaction: a file with nothing to close is opened without a write.
      if (statements.openTurnsOfOtherRuns().all().length === 0) return;
      writeBeyondLimit(() => statements.openTurnsOfOtherRuns().all().forEach(closeDead));
    },
  };
}

/** The calls at the end of a conversation that wait for results: all of them or none, since results come together. */
function openCallsOf(past: MessageDraft[]): ToolCall[] {
  const last = past.at(-1);
  return last?.role === 'assistant' ? last.toolCalls : [];
}

const toolMessage = (id: string, call: ToolCall, content: string, isError: boolean): MessageDraft => ({
  role: 'tool',
  id,
  toolCallId: call.id,
  name: call.name,
  content,
  isError,
});
