import { Fault } from '../../tenant-schema/fault.ts';
import type { IdMaker } from '../../tenant-schema/ids.ts';
import { isNestedDeeper, NESTING_MAX } from '../../tenant-schema/json.ts';
import type { MessageDraft, ProviderData, TokenUsage, ToolCall } from '../../tenant-schema/store.ts';
import type { FinishReason, ProviderEvent, ProviderRequest } from '../providers/provider.ts';
import type { TurnEvent } from './agent.ts';
import { estimateInputTokens, estimateTokens, NO_USAGE } from './usage.ts';

/** An answer beyond this many bytes is a fault of the provider, not something to keep in memory. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Other ids of tool calls are replaced: providers refuse them in a history, or clients could not send them back. */
const USABLE_CALL_ID = /^[\x21-\x7e]{1,128}$/;
const CALL_NAME_CHARS_MAX = 200;

/** Puts a model's answer together out of its events. */
export class Answer {
  readonly #request: ProviderRequest;
  readonly #ids: IdMaker;
  readonly #usedCallIds: Set<string>;
  readonly #pieces: string[] = [];
  /** The first half of a character of which the second has not come. */
  #half = '';
  readonly #calls: ToolCall[] = [];
  #textBytes = 0;
  #callBytes = 0;
  /** What came in of calls before they were whole, and of reasoning. */
  #hiddenBytes = 0;
  #usage: TokenUsage | null = null;
  #finishReason: FinishReason | null = null;
  #providerData: ProviderData | null = null;

  constructor(request: ProviderRequest, ids: IdMaker) {
    this.#request = request;
    this.#ids = ids;
    this.#usedCallIds = new Set(
      request.messages.flatMap((message) =>
        message.role === 'assistant' ? message.toolCalls.map(({ id }) => id) : [],
      ),
    );
  }

  /** Takes the next event in; what of it the client should hear of at once, or null. */
  add(event: ProviderEvent): TurnEvent | null {
    switch (event.type) {
      case 'text': {
        const text = this.#wholeCharacters(event.text);
        if (text === '') return null;
        this.#textBytes += Buffer.byteLength(text);
        this.#requireBounded();
        this.#pieces.push(text);
        return { type: 'text', text };
      }
      case 'tool_call': {
        const call = { ...requireUsable(event.call), id: this.#uniqueCallId(event.call.id) };
        this.#callBytes += Buffer.byteLength(JSON.stringify(call));
        this.#requireBounded();
        this.#calls.push(call);
        return { type: 'tool_call', call };
      }
      case 'hidden':
        this.#hiddenBytes += event.bytes;
        return null;
      case 'usage':
        // No request has none: it was not counted yet.
        if (event.usage.inputTokens + event.usage.outputTokens > 0) this.#usage = event.usage;
        return null;
      case 'end':
        this.#finishReason = event.finishReason;
        this.#providerData = event.providerData;
        return null;
    }
  }

  /** The next piece as a client and a database can take it: no halves of characters, and no NUL. */
  #wholeCharacters(piece: string): string {
    const text = this.#half + piece;
    this.#half = /[\ud800-\udbff]$/.exec(text)?.[0] ?? '';
    return text
      .slice(0, text.length - this.#half.length)
      .toWellFormed()
      .replaceAll('\0', '\ufffd');
  }

  /** Null until the provider has said why it stopped. */
  get finishReason(): FinishReason | null {
    return this.#finishReason;
  }

  /** The text so far; null where there is none beside tool calls. */
  get text(): string | null {
    return this.#pieces.length === 0 && this.#calls.length > 0 ? null : this.partialText;
  }

  /** The text so far; empty where there is none. */
  get partialText(): string {
    return this.#pieces.join('');
  }

  get toolCalls(): ToolCall[] {
    return this.#calls;
  }

  get hasText(): boolean {
    return this.#pieces.length > 0;
  }

  get hasOutput(): boolean {
    return this.#textBytes + this.#callBytes + this.#hiddenBytes > 0;
  }

  /** The whole answer as a message. */
  toMessage(id: string): MessageDraft {
    return {
      role: 'assistant',
      id,
      content: this.text,
      toolCalls: this.#calls,
      providerData: this.#providerData,
      status: 'complete',
    };
  }

  /** What stays of an answer that was broken off: its text. A call that nobody was told to run would never be answered. */
  toPartialMessage(id: string): MessageDraft {
    return {
      role: 'assistant',
      id,
      content: this.partialText,
      toolCalls: [],
      providerData: null,
      status: 'incomplete',
    };
  }

  /** The provider's figures; where it gave none, an estimate from bytes. */
  finalUsage(): { usage: TokenUsage; usageEstimated: boolean } {
    if (this.#usage) return { usage: this.#usage, usageEstimated: false };
    return { usage: this.#estimate(), usageEstimated: true };
  }

  /**
   * As `finalUsage` for a turn that failed. The provider's figures count where they came, but of an answer that was
   * broken off it has not counted the output to its end.
   * @param worked whether the provider was at work though nothing of it was seen
   */
  brokenUsage(worked: boolean): { usage: TokenUsage; usageEstimated: boolean } {
    if (this.#finishReason !== null) return this.finalUsage();
    if (!worked && !this.hasOutput && !this.#usage) return { usage: NO_USAGE, usageEstimated: false };
    const estimate = this.#estimate();
    if (!this.#usage) return { usage: estimate, usageEstimated: true };
    if (this.#usage.outputTokens >= estimate.outputTokens)
      return { usage: this.#usage, usageEstimated: false };
    return { usage: { ...this.#usage, outputTokens: estimate.outputTokens }, usageEstimated: true };
  }

  #estimate(): TokenUsage {
    return {
      ...NO_USAGE,
      inputTokens: estimateInputTokens(this.#request),
      // A call that is whole by now was among what was hidden.
      outputTokens: estimateTokens(this.#textBytes + Math.max(this.#callBytes, this.#hiddenBytes)),
    };
  }

  #requireBounded(): void {
    if (this.#textBytes + this.#callBytes > ANSWER_BYTES_MAX) {
      throw new Fault('upstream_invalid', `The provider's answer is longer than ${ANSWER_BYTES_MAX} bytes.`);
    }
  }

  #uniqueCallId(given: string): string {
    const usable = USABLE_CALL_ID.test(given) && !this.#usedCallIds.has(given);
    const id = usable ? given : `call_${this.#ids().replaceAll('-', '')}`;
    this.#usedCallIds.add(id);
    return id;
  }
}

/** @throws `upstream_invalid` for a call that a client could not answer or that could not be stored */
function requireUsable(call: ToolCall): ToolCall {
  const { name } = call;
  if (name.length > CALL_NAME_CHARS_MAX || name.includes('\0') || !name.isWellFormed()) {
    throw new Fault('upstream_invalid', 'The provider called a tool by a name that cannot be one.');
  }
  if (isNestedDeeper(call.arguments, NESTING_MAX)) {
    throw new Fault(
      'upstream_invalid',
      `The arguments of a tool call are nested deeper than ${NESTING_MAX} levels.`,
    );
  }
  return call;
}
