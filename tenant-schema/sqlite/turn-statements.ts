import { and, asc, eq, ne, sql } from 'drizzle-orm';
import type { StoreContext } from './handle.ts';
import { conversations, messages, openTurns, turns } from './tables.ts';

/** What the turn verbs ask of a file; each statement is compiled at its first use. */
export function turnStatements({ orm, prepared, runId }: StoreContext) {
  const param = sql.placeholder;
  return {
    conversationById: prepared(() =>
      orm
        .select()
        .from(conversations)
        .where(eq(conversations.id, param('id')))
        .prepare(),
    ),
    history: prepared(() =>
      orm
        .select()
        .from(messages)
        .where(eq(messages.conversationId, param('conversationId')))
        .orderBy(asc(messages.seq))
        .prepare(),
    ),
    openCallCount: prepared(() =>
      orm
        .select({ count: sql<number>`coalesce(json_array_length(${messages.toolCalls}), 0)` })
        .from(messages)
        .where(and(eq(messages.conversationId, param('conversationId')), eq(messages.seq, param('seq'))))
        .prepare(),
    ),
    openTurnOf: prepared(() =>
      orm
        .select()
        .from(openTurns)
        .where(eq(openTurns.conversationId, param('conversationId')))
        .prepare(),
    ),
    openTurnById: prepared(() =>
      orm
        .select()
        .from(openTurns)
        .where(eq(openTurns.id, param('id')))
        .prepare(),
    ),
    openTurns: prepared(() => orm.select().from(openTurns).prepare()),
    openTurnsOfOtherRuns: prepared(() =>
      orm.select().from(openTurns).where(ne(openTurns.runId, runId)).prepare(),
    ),
    insertOpenTurn: prepared(() =>
      orm
        .insert(openTurns)
        .values({
          id: param('id'),
          runId: runId,
          requestId: param('requestId'),
          configId: param('configId'),
          configVersion: param('configVersion'),
          conversationId: param('conversationId'),
          user: param('user'),
          provider: param('provider'),
          model: param('model'),
          createdAt: param('createdAt'),
          admission: param('admission'),
          reservedMicroUsd: param('reservedMicroUsd'),
          priceVersion: param('priceVersion'),
          idempotencyKeyHash: param('idempotencyKeyHash'),
        })
        .prepare(),
    ),
    takeOpenTurn: prepared(() =>
      orm
        .delete(openTurns)
        .where(eq(openTurns.id, param('id')))
        .returning()
        .prepare(),
    ),
    insertTurn: prepared(() =>
      orm
        .insert(turns)
        .values({
          id: param('id'),
          requestId: param('requestId'),
          configId: param('configId'),
          configVersion: param('configVersion'),
          conversationId: param('conversationId'),
          user: param('user'),
          provider: param('provider'),
          model: param('model'),
          status: param('status'),
          errorCode: param('errorCode'),
          latencyMs: param('latencyMs'),
          firstTokenMs: param('firstTokenMs'),
          inputTokens: param('inputTokens'),
          outputTokens: param('outputTokens'),
          cachedInputTokens: param('cachedInputTokens'),
          cacheWriteInputTokens: param('cacheWriteInputTokens'),
          reasoningTokens: param('reasoningTokens'),
          usageEstimated: param('usageEstimated'),
          costMicroUsd: param('costMicroUsd'),
          priceVersion: param('priceVersion'),
          createdAt: param('createdAt'),
        })
        .prepare(),
    ),
    insertConversation: prepared(() =>
      orm
        .insert(conversations)
        .values({
          id: param('id'),
          configId: param('configId'),
          user: param('user'),
          metadata: param('metadata'),
          messageCount: 0,
          historyBytes: 0,
          awaitingTools: false,
          createdAt: param('now'),
          updatedAt: param('now'),
        })
        .prepare(),
    ),
    updateConversation: prepared(() =>
      orm
        .update(conversations)
        .set({
          user: sql`${param('user')}`,
          metadata: sql`${param('metadata')}`,
          messageCount: sql`${param('messageCount')}`,
          historyBytes: sql`${param('historyBytes')}`,
          awaitingTools: sql`${param('awaitingTools')}`,
          updatedAt: sql`${param('updatedAt')}`,
        })
        .where(eq(conversations.id, param('id')))
        .prepare(),
    ),
    deleteIfEmpty: prepared(() =>
      orm
        .delete(conversations)
        .where(and(eq(conversations.id, param('id')), eq(conversations.messageCount, 0)))
        .prepare(),
    ),
    insertMessage: prepared(() =>
      orm
        .insert(messages)
        .values({
          conversationId: param('conversationId'),
          seq: param('seq'),
          id: param('id'),
          role: param('role'),
          content: param('content'),
          toolCalls: param('toolCalls'),
          toolCallId: param('toolCallId'),
          toolName: param('toolName'),
          isError: param('isError'),
          status: param('status'),
          providerData: param('providerData'),
          createdAt: param('createdAt'),
        })
        .prepare(),
    ),
  };
}
