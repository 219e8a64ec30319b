import type { JsonObject } from '../../../tenant-schema/store.ts';

/** A request as the scripted upstream got it. Nothing is cut out: the key is in `headers`. */
export interface UpstreamRequest {
  wire: 'openai' | 'anthropic';
  path: string;
  headers: Record<string, string | string[] | undefined>;
  /** The parsed JSON body. */
  body: JsonObject;
}

/** Token figures; all of `cached` and `cacheCreation` are part of `input`, `reasoning` is part of `output`. */
export interface ScriptedUsage {
  input: number;
  output: number;
  cached?: number;
  /** Only Anthropic tells it. */
  cacheCreation?: number;
  reasoning?: number;
  /** OpenAI wire: `completion_tokens` is told without the reasoning, as some providers do; the total is not. */
  reasoningApart?: boolean;
}

export interface ScriptedCall {
  name: string;
  /** Default: a fresh id. Null: no id at all (empty on the Anthropic wire). */
  id?: string | null;
  /** An object is sent as JSON; strings are sent word for word, one streamed piece each. Default `{}`. */
  arguments?: JsonObject | string[];
  /** OpenAI wire: the whole call in one chunk, without its index, as some compatible providers do. */
  whole?: boolean;
  /** OpenAI wire: further fields of the call's first chunk, such as `extra_content`. */
  vendor?: JsonObject;
}

export interface ScriptedThinking {
  text: string | string[];
  signature: string;
}

/**
 * What the upstream does with one request. All fields may be combined as far as that makes sense.
 *
 * A *piece* is what is streamed at once: the thinking, each string of `text`, each tool call's beginning and
 * each string of its arguments, in this order. "After n pieces" means that the answer's head (status, headers,
 * first event) and n pieces have been sent.
 */
export interface Answer {
  text?: string | string[];
  /** OpenAI wire: sent as `refusal` after the text. */
  refusal?: string;
  /** Anthropic: a signed thinking block. OpenAI wire: `reasoning_content`, one piece per string. */
  thinking?: ScriptedThinking;
  /** Anthropic: a redacted thinking block with this data. */
  redactedThinking?: string;
  toolCalls?: ScriptedCall[];
  /** Anthropic: further blocks, in this order, after those of the fields above. One piece per text. */
  blocks?: (
    | { thinking: ScriptedThinking }
    | { redactedThinking: string }
    | { text: string }
    | { toolCall: ScriptedCall }
  )[];
  /** Null: the figures are never told. Default: `{ input: 10, output: 5 }`. */
  usage?: ScriptedUsage | null;
  /** The finish or stop reason in the wire's own words. Null: the stream ends cleanly without any. */
  finish?: string | null;

  /** An error status (400, 401, 429, 500, 529 …) with an error body as the provider would write it. */
  status?: number;
  /** Further response headers, for example `{ 'retry-after-ms': '1' }`. */
  headers?: Record<string, string>;
  /** The provider's words in the error body. */
  errorMessage?: string;
  /** Puts the key that came with the request into the error's words. */
  echoKey?: boolean;

  /** Never answers, or sends this many pieces and then nothing more, with the connection open. */
  hangAfter?: 'request' | number;
  /** Cuts the connection before the head, or after this many pieces. */
  closeAfter?: 'request' | number;
  /** Sends an event that is not JSON after this many pieces, then goes on. */
  brokenAfter?: number;
  /** Sends an error event after this many pieces, then ends. */
  errorEvent?: { after: number; type: string; message: string };
  /** Holds every piece, and the end, until the gate lets it through. */
  hold?: Gate;
}

/** Lets a scripted answer's pieces through one by one, so that a test decides when each is sent. */
export interface Gate {
  /** Lets `count` more pieces through (default 1); the end of the answer counts as one piece. */
  release(count?: number): void;
  /** Lets everything through from now on. */
  open(): void;
  /** Resolves when the next piece may pass. Used by the upstream. */
  pass(): Promise<void>;
}

export function createGate(): Gate {
  let tickets = 0;
  const waiting: (() => void)[] = [];
  const admit = (): void => {
    while (tickets > 0) {
      const next = waiting.shift();
      if (next === undefined) return;
      tickets -= 1;
      next();
    }
  };
  return {
    release(count = 1) {
      tickets += count;
      admit();
    },
    open() {
      tickets = Number.POSITIVE_INFINITY;
      admit();
    },
    pass: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        admit();
      }),
  };
}

/** An answer in a wire's own form. */
export interface Rendering {
  /** Sent at once, with the response's head. */
  head: string;
  /** One string per piece. */
  pieces: string[];
  /** Sent as the end. */
  tail: string;
  /** The body where the request did not ask for a stream. */
  json: JsonObject;
}

export const DEFAULT_USAGE: ScriptedUsage = { input: 10, output: 5 };

export const piecesOf = (text: string | string[] | undefined): string[] =>
  text === undefined ? [] : typeof text === 'string' ? [text] : text;

export const argumentPieces = (call: ScriptedCall): string[] =>
  Array.isArray(call.arguments) ? call.arguments : [JSON.stringify(call.arguments ?? {})];
