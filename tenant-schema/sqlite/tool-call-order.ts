/** Nobody has such a conversation, and what is kept of it here stays bounded. */
const IDS_MAX = 2_000_000;

/**
 * Follows the rows of `messages` in the order of their conversations, and says what is wrong with one: the calls of
 * an answer are answered together, at once or not yet, and no id names two of a conversation's messages or calls.
 * No provider takes a history in which that is not so, so such a conversation could never go on.
 */
export class ToolCallOrder {
  #conversationId: unknown = null;
  /** The calls of the last answer that no row has answered so far. */
  readonly #open = new Set<unknown>();
  #someAnswered = false;
  readonly #messageIds = new Set<unknown>();
  readonly #callIds = new Set<unknown>();

  /** Takes a row, by column, whose values have passed their rules. */
  add(row: Record<string, unknown>): string | null {
    const fault = row.conversation_id === this.#conversationId ? null : this.end();
    this.#conversationId = row.conversation_id;
    return fault ?? this.#name(row) ?? this.#follow(row);
  }

  /** What is wrong with the end of the conversation at hand. */
  end(): string | null {
    const halfAnswered = this.#someAnswered && this.#open.size > 0;
    this.#open.clear();
    this.#someAnswered = false;
    this.#messageIds.clear();
    this.#callIds.clear();
    return halfAnswered ? 'The tool calls of a conversation are answered in part.' : null;
  }

  #name(row: Record<string, unknown>): string | null {
    if (this.#messageIds.has(row.id)) return 'Two messages of a conversation have the same id.';
    this.#messageIds.add(row.id);
    return this.#messageIds.size > IDS_MAX ? 'A conversation has too many messages.' : null;
  }

  #follow(row: Record<string, unknown>): string | null {
    if (row.role !== 'assistant' && (row.content === null || row.tool_calls !== null)) {
      return 'A message has not what belongs to its role.';
    }
    if (row.role === 'tool') {
      this.#someAnswered = true;
      const known = row.tool_name !== null && this.#open.delete(row.tool_call_id);
      return known ? null : 'A tool result answers no call.';
    }
    if (this.#open.size > 0) return 'A message stands between tool calls and their results.';
    this.#someAnswered = false;
    for (const id of callIds(row.tool_calls)) {
      if (this.#callIds.has(id)) return 'Two tool calls of a conversation have the same id.';
      this.#callIds.add(id);
      if (this.#callIds.size > IDS_MAX) return 'A conversation has too many tool calls.';
      this.#open.add(id);
    }
    return null;
  }
}

const callIds = (toolCalls: unknown): unknown[] =>
  typeof toolCalls === 'string' ? (JSON.parse(toolCalls) as { id: string }[]).map(({ id }) => id) : [];
