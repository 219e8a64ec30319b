import type { JsonObject, MessageDraft, ProviderData, StoredMessage, ToolCall } from '../store.ts';
import type { messages } from './tables.ts';

export type MessageRow = typeof messages.$inferSelect;

export function toDraft(row: MessageRow): MessageDraft {
  switch (row.role) {
    case 'user':
      return { role: 'user', id: row.id, content: row.content ?? '' };
    case 'assistant':
      return {
        role: 'assistant',
        id: row.id,
        content: row.content,
        toolCalls: parseCalls(row.toolCalls),
        providerData: row.providerData === null ? null : (JSON.parse(row.providerData) as ProviderData),
        status: row.status,
      };
    case 'tool':
      return {
        role: 'tool',
        id: row.id,
        toolCallId: row.toolCallId ?? '',
        name: row.toolName ?? '',
        content: row.content ?? '',
        isError: row.isError,
      };
  }
}

export const toStoredMessage = (row: MessageRow): StoredMessage => ({
  id: row.id,
  role: row.role,
  content: row.content,
  toolCalls: parseCalls(row.toolCalls),
  toolCallId: row.toolCallId,
  status: row.status,
  createdAt: row.createdAt,
});

/** The row of a draft; `bytes` is what it adds to the history that goes to a model. */
export function toRow(
  draft: MessageDraft,
  place: { conversationId: string; seq: number; createdAt: number },
): { row: MessageRow; bytes: number } {
  const row: MessageRow = {
    conversationId: place.conversationId,
    seq: place.seq,
    createdAt: place.createdAt,
    id: draft.id,
    role: draft.role,
    content: draft.content,
    toolCalls: null,
    toolCallId: null,
    toolName: null,
    isError: false,
    status: 'complete',
    providerData: null,
  };
  if (draft.role === 'assistant') {
    row.toolCalls = draft.toolCalls.length > 0 ? JSON.stringify(draft.toolCalls) : null;
    row.providerData = draft.providerData === null ? null : JSON.stringify(draft.providerData);
    row.status = draft.status;
  } else if (draft.role === 'tool') {
    row.toolCallId = draft.toolCallId;
    row.toolName = draft.name;
    row.isError = draft.isError;
  }
  return { row, bytes: bytesOf(row.content) + bytesOf(row.toolCalls) + bytesOf(row.providerData) };
}

const bytesOf = (text: string | null): number => (text === null ? 0 : Buffer.byteLength(text));

const parseCalls = (text: string | null): ToolCall[] =>
  text === null ? [] : (JSON.parse(text) as ToolCall[]);

export const parseMetadata = (text: string): JsonObject => JSON.parse(text) as JsonObject;
