import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { JsonObject } from '../../tenant-schema/store.ts';
import type { Answer, Rendering, UpstreamRequest } from './upstream/answer.ts';
import {
  ANTHROPIC_BROKEN_EVENT,
  anthropicErrorBody,
  anthropicErrorEvent,
  renderAnthropic,
} from './upstream/anthropic.ts';
import { OPENAI_BROKEN_EVENT, openAiErrorBody, openAiErrorEvent, renderOpenAi } from './upstream/openai.ts';

export type { Answer, Gate, ScriptedCall, ScriptedUsage, UpstreamRequest } from './upstream/answer.ts';
export { createGate } from './upstream/answer.ts';

/**
 * A model provider under a test's control, real HTTP on 127.0.0.1. Speaks Chat Completions at
 * `…/chat/completions` and Messages at `…/v1/messages`, streamed or not, over kept-alive connections.
 *
 * ```ts
 * const upstream = await startUpstream();
 * upstream.script({ text: ['Hel', 'lo'] }, { status: 429, headers: { 'retry-after': '7' } });
 * upstream.respond((request) => ({ text: JSON.stringify(request.body.messages) }));
 * // … let the code under test call `${upstream.openaiUrl}` or `${upstream.anthropicUrl}` …
 * await upstream.received(1);
 * expect(upstream.requests[0]?.body).to.deep.equal({ … });
 * await upstream.close();
 * ```
 */
export interface Upstream {
  /** Base URL for the OpenAI wire format; ends with `/v1`. */
  readonly openaiUrl: string;
  /** Base URL for the Anthropic SDK, which adds `/v1/messages`. */
  readonly anthropicUrl: string;
  /** Every request so far, in order of arrival, failed attempts included. */
  readonly requests: readonly UpstreamRequest[];
  /** How many connections were made so far. */
  readonly connections: number;
  /** Queues answers, one per request, in order. */
  script(...answers: Answer[]): void;
  /** What is answered when the queue is empty (at first: `Hello from upstream.`). */
  respond(answerTo: (request: UpstreamRequest) => Answer): void;
  /** Resolves when `count` requests in all have arrived, bodies included. */
  received(count: number): Promise<void>;
  /** Resolves when in all `count` clients have gone away before their answer had ended. */
  aborted(count: number): Promise<void>;
  /** Ends everything, hanging connections too. */
  close(): Promise<void>;
}

const WIRES = {
  openai: {
    render: renderOpenAi,
    errorBody: openAiErrorBody,
    errorEvent: openAiErrorEvent,
    broken: OPENAI_BROKEN_EVENT,
  },
  anthropic: {
    render: renderAnthropic,
    errorBody: anthropicErrorBody,
    errorEvent: anthropicErrorEvent,
    broken: ANTHROPIC_BROKEN_EVENT,
  },
};

/** Counts something and lets tests wait until it has happened often enough. */
function createCounter(): { add(): void; reaches(count: number): Promise<void> } {
  let value = 0;
  let waiting: { count: number; resolve: () => void }[] = [];
  return {
    add() {
      value += 1;
      for (const waiter of waiting) if (waiter.count <= value) waiter.resolve();
      waiting = waiting.filter((waiter) => waiter.count > value);
    },
    reaches: (count) =>
      value >= count
        ? Promise.resolve()
        : new Promise((resolve) => {
            waiting.push({ count, resolve });
          }),
  };
}

function wireOf(path: string): UpstreamRequest['wire'] | undefined {
  if (path.endsWith('/chat/completions')) return 'openai';
  return path.endsWith('/v1/messages') ? 'anthropic' : undefined;
}

async function readJson(incoming: IncomingMessage): Promise<JsonObject> {
  const parts: Buffer[] = [];
  for await (const part of incoming) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString('utf8'));
}

function keyOf(request: UpstreamRequest): string {
  const key = request.headers['x-api-key'] ?? request.headers.authorization ?? 'no key';
  return String(key).replace(/^Bearer /, '');
}

function sendJson(
  res: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: JsonObject,
): void {
  res.writeHead(status, { 'content-type': 'application/json', ...headers });
  res.end(JSON.stringify(body));
}

async function sendStream(
  res: ServerResponse,
  answer: Answer,
  rendering: Rendering,
  wire: (typeof WIRES)[keyof typeof WIRES],
): Promise<void> {
  res.writeHead(200, { 'content-type': 'text/event-stream', ...answer.headers });
  res.write(rendering.head);
  for (let sent = 0; sent <= rendering.pieces.length; sent += 1) {
    if (answer.hangAfter === sent) return;
    if (answer.closeAfter === sent) {
      // What was written is let out before the connection is cut, so that the client does get `sent` pieces.
      res.write('', () => res.destroy());
      return;
    }
    if (answer.brokenAfter === sent) res.write(wire.broken);
    if (answer.errorEvent?.after === sent) {
      res.end(wire.errorEvent(answer.errorEvent.type, answer.errorEvent.message));
      return;
    }
    await answer.hold?.pass();
    const piece = rendering.pieces[sent];
    if (piece !== undefined) res.write(piece);
  }
  res.end(rendering.tail);
}

/** Starts a scripted upstream on a free port of 127.0.0.1. The caller closes it. */
export async function startUpstream(): Promise<Upstream> {
  const requests: UpstreamRequest[] = [];
  const queue: Answer[] = [];
  const received = createCounter();
  const aborted = createCounter();
  let defaultAnswer: (request: UpstreamRequest) => Answer = () => ({
    text: ['Hello', ' from', ' upstream', '.'],
  });
  let ids = 0;
  let connections = 0;

  async function answerRequest(incoming: IncomingMessage, res: ServerResponse): Promise<void> {
    const path = incoming.url ?? '';
    const name = wireOf(path);
    if (incoming.method !== 'POST' || name === undefined) {
      sendJson(res, 404, {}, { error: { message: `nothing at ${path}` } });
      return;
    }
    const request = { wire: name, path, headers: incoming.headers, body: await readJson(incoming) };
    requests.push(request);
    const answer = queue.shift() ?? defaultAnswer(request);
    const cutByUs = answer.closeAfter !== undefined;
    res.on('close', () => {
      if (!res.writableFinished && !cutByUs) aborted.add();
    });
    received.add();

    const wire = WIRES[name];
    if (answer.hangAfter === 'request') return;
    if (answer.closeAfter === 'request') {
      res.destroy();
    } else if (answer.status !== undefined) {
      const words = answer.errorMessage ?? `scripted ${answer.status}`;
      const message = answer.echoKey ? `${words}: key ${keyOf(request)}` : words;
      sendJson(res, answer.status, answer.headers ?? {}, wire.errorBody(answer.status, message));
    } else {
      const rendering = wire.render(answer, request, () => {
        ids += 1;
        return `${name === 'openai' ? 'call' : 'toolu'}_${ids}`;
      });
      if (request.body.stream === true) await sendStream(res, answer, rendering, wire);
      else sendJson(res, 200, answer.headers ?? {}, rendering.json);
    }
  }

  const server = createServer((incoming, res) => {
    answerRequest(incoming, res).catch((error: unknown) =>
      res.destroy(error instanceof Error ? error : undefined),
    );
  });
  server.on('connection', () => {
    connections += 1;
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The upstream has no port.');
  const origin = `http://127.0.0.1:${address.port}`;

  return {
    openaiUrl: `${origin}/v1`,
    anthropicUrl: origin,
    requests,
    get connections() {
      return connections;
    },
    script: (...answers) => {
      queue.push(...answers);
    },
    respond: (answerTo) => {
      defaultAnswer = answerTo;
    },
    received: received.reaches,
    aborted: aborted.reaches,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
