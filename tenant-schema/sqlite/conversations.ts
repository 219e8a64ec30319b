import { and, desc, eq, gte, lt, sql } from 'drizzle-orm';
import { notFound } from '../fault.ts';
import { mergeMetadata } from '../json.ts';
import { decodeCountCursor, decodeIdCursor, encodeCursor, pageOf, pageWithinBytes } from '../page.ts';
import type { Conversation, TenantStore } from '../store.ts';
import type { StoreContext } from './handle.ts';
import { parseMetadata, toStoredMessage } from './messages.ts';
import { conversations, messages, openTurns } from './tables.ts';
import type { TurnVerbs } from './turns.ts';

export type ConversationVerbs = Pick<
  TenantStore,
  'listConversations' | 'getConversation' | 'updateConversation' | 'deleteConversation' | 'listMessages'
>;

/** Titles that one page of a search looks at: some milliseconds, in which other lists wait. */
const LOOKED_AT_MAX = 5_000;

interface ConversationRow {
  conversation: typeof conversations.$inferSelect;
  openTurnId: string | null;
}

/** @param requireFree see `TurnVerbs` */
export function conversationVerbs(
  context: StoreContext,
  requireFree: TurnVerbs['requireFree'],
): ConversationVerbs {
  const { orm, prepared, preparedByShape, read, write, writeBeyondLimit } = context;
  const param = sql.placeholder;
  const select = () =>
    orm
      .select({ conversation: conversations, openTurnId: openTurns.id })
      .from(conversations)
      .leftJoin(openTurns, eq(openTurns.conversationId, conversations.id));

  const byId = prepared(() =>
    select()
      .where(eq(conversations.id, param('id')))
      .prepare(),
  );
  const within = (shape: readonly string[]) => [
    shape.includes('configId') ? eq(conversations.configId, param('configId')) : undefined,
    shape.includes('user') ? eq(conversations.user, param('user')) : undefined,
    shape.includes('after') ? lt(conversations.id, param('after')) : undefined,
  ];
  const page = preparedByShape((shape) =>
    select()
      .where(
        and(
          ...within(shape),
          shape.includes('reached') ? gte(conversations.id, param('reached')) : undefined,
          shape.includes('search')
            ? sql`instr(lower(${conversations.title}), lower(${param('search')})) > 0`
            : undefined,
        ),
      )
      .orderBy(desc(conversations.id))
      .limit(param('limit'))
      .prepare(),
  );
  /** How far back a search comes on this page; nothing where that is to the oldest. */
  const reach = preparedByShape((shape) =>
    orm
      .select({ id: conversations.id })
      .from(conversations)
      .where(and(...within(shape)))
      .orderBy(desc(conversations.id))
      .limit(1)
      .offset(LOOKED_AT_MAX - 1)
      .prepare(),
  );
  const ofMessages = (shape: string[]) =>
    and(
      eq(messages.conversationId, param('conversationId')),
      shape.includes('before') ? lt(messages.seq, param('before')) : undefined,
    );
  const messageBytes = preparedByShape((shape) =>
    orm
      .select({
        bytes: sql<number>`coalesce(octet_length(${messages.content}), 0) + coalesce(octet_length(${messages.toolCalls}), 0)`,
      })
      .from(messages)
      .where(ofMessages(shape))
      .orderBy(desc(messages.seq))
      .limit(param('limit'))
      .prepare(),
  );
  const messagePage = preparedByShape((shape) =>
    orm
      .select()
      .from(messages)
      .where(ofMessages(shape))
      .orderBy(desc(messages.seq))
      .limit(param('limit'))
      .prepare(),
  );
  const update = prepared(() =>
    orm
      .update(conversations)
      .set({
        title: sql`${param('title')}`,
        metadata: sql`${param('metadata')}`,
        updatedAt: sql`${param('updatedAt')}`,
      })
      .where(eq(conversations.id, param('id')))
      .prepare(),
  );
  const remove = prepared(() =>
    orm
      .delete(conversations)
      .where(eq(conversations.id, param('id')))
      .prepare(),
  );

  const findRow = (id: string): ConversationRow => {
    const row = byId().get({ id });
    if (!row) throw notFound();
    return row;
  };

  return {
    listConversations: ({ configId, user, search }, { limit, cursor }) =>
      read(() => {
        const after = cursor === null ? null : decodeIdCursor(cursor);
        const range = { configId, user, after };
        const reached = search === undefined ? null : (reach(range).get(range)?.id ?? null);
        const filter = { ...range, search, reached };
        const rows = page(filter).all({ ...filter, limit: limit + 1 });
        const found = pageOf(rows.map(toConversation), limit, ({ id }) => id);
        // Farther back there may be more: the next page goes on from there, also where this one is not full.
        if (found.nextCursor === null && reached !== null) found.nextCursor = encodeCursor(reached);
        return found;
      }),

    getConversation: (id) => toConversation(findRow(id)),

    updateConversation: (id, patch) =>
      write(() => {
        const { conversation, openTurnId } = findRow(id);
        const changed = {
          ...conversation,
          title: patch.title === undefined ? conversation.title : patch.title,
          metadata: patch.metadata
            ? JSON.stringify(mergeMetadata(parseMetadata(conversation.metadata), patch.metadata))
            : conversation.metadata,
          updatedAt: context.clock.now(),
        };
        if (changed.title === conversation.title && changed.metadata === conversation.metadata) {
          return toConversation({ conversation, openTurnId });
        }
        // What makes it smaller is welcome, however full the file is.
        if (bytesOf(changed) > bytesOf(conversation)) context.requireRoom();
        update().run({ id, title: changed.title, metadata: changed.metadata, updatedAt: changed.updatedAt });
        return toConversation({ conversation: changed, openTurnId });
      }),

    deleteConversation: (id, isRunning) =>
      writeBeyondLimit(() => {
        findRow(id);
        requireFree(id, isRunning);
        remove().run({ id });
      }),

    listMessages: (conversationId, { limit, cursor }) =>
      read(() => {
        findRow(conversationId);
        const before = cursor === null ? null : decodeCountCursor(cursor);
        const sizes = messageBytes({ before }).all({ conversationId, before, limit: limit + 1 });
        const listing = pageWithinBytes(
          sizes.map(({ bytes }) => bytes),
          limit,
          (count) => messagePage({ before }).all({ conversationId, before, limit: count }),
          ({ seq }) => String(seq),
        );
        return { data: listing.data.map(toStoredMessage), nextCursor: listing.nextCursor };
      }),
  };
}

/** Of what a client can change. */
const bytesOf = ({ title, metadata }: ConversationRow['conversation']): number =>
  Buffer.byteLength(title ?? '') + Buffer.byteLength(metadata);

const toConversation = ({ conversation: row, openTurnId }: ConversationRow): Conversation => ({
  id: row.id,
  configId: row.configId,
  title: row.title,
  user: row.user,
  metadata: parseMetadata(row.metadata),
  status: openTurnId !== null ? 'busy' : row.awaitingTools ? 'awaiting_tools' : 'idle',
  messageCount: row.messageCount,
  createdAt: row.createdAt,
  updatedAt: row.updatedAt,
});
