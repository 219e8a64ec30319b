import type { Dispatcher } from 'undici';

/** Headers of an answer, named in lower case. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** What has come and was not read yet may be so large before the provider is slowed down. */
const UNREAD_BYTES_MAX = 128 * 1024;

/**
 * One call and its answer, straight from undici's parser: the streams, the promises and the `Response` that its other
 * interfaces put around the same bytes cost more than a whole call does this way.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #signal: AbortSignal | null;
  readonly #onHead: (answer: Exchange) => void;
  readonly #onFailure: (error: unknown) => void;
  readonly #onAbort = (): void => this.#abort(this.#signal?.reason);
  #controller: Dispatcher.DispatchController | null = null;
  #status = 0;
  #headers: AnswerHeaders = {};
  #unread: Buffer[] = [];
  #unreadBytes = 0;
  #waiting: { resolve(piece: Buffer | null): void; reject(error: unknown): void } | null = null;
  #isOver = false;
  #failure: { error: unknown } | null = null;

  constructor(
    signal: AbortSignal | null,
    onHead: (answer: Exchange) => void,
    onFailure: (error: unknown) => void,
  ) {
    this.#signal = signal;
    this.#onHead = onHead;
    this.#onFailure = onFailure;
    signal?.throwIfAborted();
    signal?.addEventListener('abort', this.#onAbort);
  }

  get status(): number {
    return this.#status;
  }

  get headers(): AnswerHeaders {
    return this.#headers;
  }

  /** The next piece as it came, or null at the end. One call at a time. @throws what broke the connection */
  read(): Promise<Buffer | null> {
    const piece = this.#unread.shift();
    if (piece !== undefined) {
      this.#unreadBytes -= piece.length;
      if (this.#unreadBytes === 0) this.#controller?.resume();
      return Promise.resolve(piece);
    }
    if (this.#failure) return Promise.reject(this.#failure.error);
    if (this.#isOver) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Ends the call unless the answer has come whole. To be called by whoever reads no further. */
  cancel(): void {
    if (!this.#isOver) this.#abort(new Error('The answer was not read to its end.'));
  }

  #abort(reason: unknown): void {
    this.#unread = [];
    this.#end({ error: reason });
    this.#controller?.abort(new Error('The call was aborted.'));
  }

  /** Nothing more will come: tells whoever waits for the head, or for a piece. */
  #end(failure: { error: unknown } | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = failure;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (failure === null) {
      this.#waiting?.resolve(null);
    } else {
      this.#onFailure(failure.error);
      this.#waiting?.reject(failure.error);
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // It was aborted while a connection was made.
    if (this.#isOver) controller.abort(new Error('The call was aborted.'));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: AnswerHeaders): void {
    if (status < 200) return;
    this.#status = status;
    this.#headers = headers;
    this.#onHead(this);
  }

  onResponseData(controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#waiting) {
      const { resolve } = this.#waiting;
      this.#waiting = null;
      resolve(piece);
      return;
    }
    this.#unread.push(piece);
    this.#unreadBytes += piece.length;
    if (this.#unreadBytes > UNREAD_BYTES_MAX) controller.pause();
  }

  onResponseEnd(): void {
    this.#end(null);
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#end({ error });
  }
}
