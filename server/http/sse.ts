import type { ServerResponse } from 'node:http';
import type { EventStream } from '../endpoints/endpoint.ts';

/** A client that takes nothing off its connection for so long has left without saying so. */
const STALLED_MS = 120_000;

/** JSON in one line for every reader: some, as Python's httpx, end a line at any line break that Unicode has. */
const inOneLine = (data: unknown): string =>
  JSON.stringify(data).replace(
    /[\u0085\u2028\u2029]/g,
    (lineBreak) => `\\u${lineBreak.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** Resolves when the response takes data again, or never will. */
const writableAgain = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });

/**
 * Sends a stream of events as `text/event-stream` and ends the response. Never throws: what the stream throws
 * becomes the last event, `error`. A `ping` goes out after every `pingMs` of silence.
 */
export async function sendEvents(
  response: ServerResponse,
  stream: EventStream,
  options: { pingMs: number; problem(error: unknown): Record<string, unknown> },
): Promise<void> {
  response.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    // Proxies of the nginx kind would otherwise hold the events back.
    'X-Accel-Buffering': 'no',
  });
  response.flushHeaders();
  response.socket?.setTimeout(Math.max(STALLED_MS, 2 * options.pingMs));

  const isOpen = () => !response.destroyed && !response.writableEnded;
  const send = (name: string, data: unknown): void | Promise<void> => {
    if (!isOpen()) return;
    ping.refresh();
    if (!response.write(`event: ${name}\ndata: ${inOneLine(data)}\n\n`)) return writableAgain(response);
  };
  const ping = setInterval(() => {
    if (!response.writableNeedDrain) send('ping', {});
  }, options.pingMs);

  try {
    await stream.run(send);
  } catch (error) {
    await send('error', options.problem(error));
  } finally {
    clearInterval(ping);
    if (isOpen()) response.end();
  }
}
