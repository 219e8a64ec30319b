import { z } from 'zod';
import { toTimestamp } from '../../tenant-schema/clock.ts';
import type { Conversation, StoredMessage } from '../../tenant-schema/store.ts';
import {
  id,
  idFilter,
  jsonObject,
  listOf,
  metadataInput,
  pageOf,
  pageQuery,
  textOf,
  timestamp,
  toList,
  toolCall,
  userInput,
} from './common.ts';
import { type Endpoint, tenantEndpoint } from './endpoint.ts';

/** `GET …/{id}` brings so many of the latest messages with it. */
const MESSAGES_SHOWN = 100;

const conversationRow = {
  id,
  config_id: id,
  title: z.string().nullable(),
  user: z.string().nullable(),
  metadata: jsonObject,
  status: z.enum(['idle', 'busy', 'awaiting_tools']),
  message_count: z.number().int().nonnegative(),
  created_at: timestamp,
  updated_at: timestamp,
};
const conversation = z.strictObject(conversationRow);

const message = z.strictObject({
  id,
  role: z.enum(['user', 'assistant', 'tool']),
  content: z.string().nullable(),
  tool_calls: z.array(toolCall),
  tool_call_id: z.string().nullable(),
  status: z.enum(['complete', 'incomplete']),
  created_at: timestamp,
});

const conversationDetail = z.strictObject({
  ...conversationRow,
  /** The latest ones, oldest first. */
  messages: z.array(message),
  /** Leads to older ones in `…/messages`; null where these are all. */
  messages_cursor: z.string().nullable(),
});

const conversationPatch = z.strictObject({
  title: textOf(0, 200).nullable().optional(),
  metadata: metadataInput.optional(),
});

const conversationJson = (row: Conversation): z.input<typeof conversation> => ({
  id: row.id,
  config_id: row.configId,
  title: row.title,
  user: row.user,
  metadata: row.metadata,
  status: row.status,
  message_count: row.messageCount,
  created_at: toTimestamp(row.createdAt),
  updated_at: toTimestamp(row.updatedAt),
});

const messageJson = (row: StoredMessage): z.input<typeof message> => ({
  id: row.id,
  role: row.role,
  content: row.content,
  tool_calls: row.toolCalls,
  tool_call_id: row.toolCallId,
  status: row.status,
  created_at: toTimestamp(row.createdAt),
});

export const conversationSchemas = {
  Conversation: conversation,
  ConversationDetail: conversationDetail,
  ConversationPatch: conversationPatch,
  Message: message,
};

const group = 'Conversations';
const path = '/api/v1/conversations';

export const conversationEndpoints: Endpoint[] = [
  tenantEndpoint(
    {
      name: 'listConversations',
      group,
      method: 'GET',
      path,
      scope: 'read',
      summary:
        'List conversations, or those with `search` in their title, of which a page may be short, or empty, and still have a next one',
      query: z.strictObject({
        ...pageQuery(),
        config_id: idFilter,
        user: userInput.optional(),
        search: textOf(1, 200).optional(),
      }),
      response: listOf(conversation),
    },
    async ({ query, identity: { tenant }, services: { engine } }) => {
      const filter = { configId: query.config_id, user: query.user, search: query.search };
      const page = pageOf(query);
      const found =
        query.search === undefined
          ? await engine.use(tenant.id, (store) => store.listConversations(filter, page))
          : await engine.run(tenant.id, 'listConversations', filter, page);
      return toList(found, conversationJson);
    },
  ),
  tenantEndpoint(
    {
      name: 'getConversation',
      group,
      method: 'GET',
      path: `${path}/:id`,
      scope: 'read',
      summary: `Read a conversation and its latest ${MESSAGES_SHOWN} messages, oldest first`,
      response: conversationDetail,
    },
    ({ params, identity, services }) =>
      services.engine.use(identity.tenant.id, (store) => {
        const row = store.getConversation(params.id);
        const latest = store.listMessages(params.id, { limit: MESSAGES_SHOWN, cursor: null });
        return {
          ...conversationJson(row),
          messages: latest.data.map(messageJson).reverse(),
          messages_cursor: latest.nextCursor,
        };
      }),
  ),
  tenantEndpoint(
    {
      name: 'updateConversation',
      group,
      method: 'PATCH',
      path: `${path}/:id`,
      scope: 'manage',
      summary: 'Give a conversation a title or metadata',
      body: conversationPatch,
      response: conversation,
      faults: ['storage_quota_exceeded'],
    },
    async ({ params, body, identity, services }) =>
      conversationJson(
        await services.engine.use(identity.tenant.id, (store) => {
          return store.updateConversation(params.id, body);
        }),
      ),
  ),
  tenantEndpoint(
    {
      name: 'deleteConversation',
      group,
      method: 'DELETE',
      path: `${path}/:id`,
      scope: 'manage',
      summary: 'Delete a conversation with its messages; its logs stay',
      status: 204,
      faults: ['conversation_busy'],
    },
    ({ params, identity, services: { engine, agent } }) =>
      engine.use(identity.tenant.id, (store) =>
        store.deleteConversation(params.id, (turnId) => agent.isRunning(turnId)),
      ),
  ),
  tenantEndpoint(
    {
      name: 'listMessages',
      group,
      method: 'GET',
      path: `${path}/:id/messages`,
      scope: 'read',
      summary: 'List the messages of a conversation, newest first',
      query: z.strictObject(pageQuery()),
      response: listOf(message),
    },
    async ({ params, query, identity, services }) =>
      toList(
        await services.engine.use(identity.tenant.id, (store) =>
          store.listMessages(params.id, pageOf(query)),
        ),
        messageJson,
      ),
  ),
];
