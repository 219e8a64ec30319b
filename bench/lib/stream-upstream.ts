import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '../../tenant-schema/clock.ts';
import { answerWith } from './processes.ts';
import { markOf, type StreamPace } from './stream-pace.ts';

// A model's API that answers piece by piece, as a process of its own. Each piece carries the moment at which it was
// sent, so that whoever reads it knows how long it was on its way.

interface Open {
  response: ServerResponse;
  left: number;
  dueAt: number;
}

const base = {
  id: 'chatcmpl-bench',
  created: 1_700_000_000,
  model: 'bench',
  object: 'chat.completion.chunk',
};
const chunk = (delta: object, finish: string | null = null): string =>
  `data: ${JSON.stringify({ ...base, choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const usage = { prompt_tokens: 40, completion_tokens: 500, total_tokens: 540 };
const FIRST = chunk({ role: 'assistant', content: '' });
const END = `${chunk({}, 'stop')}data: ${JSON.stringify({ ...base, choices: [], usage })}\n\ndata: [DONE]\n\n`;
const piece = (): string => chunk({ content: `a few more words ${markOf(systemClock.now())} ` });

const open = new Set<Open>();
const pace: StreamPace = { pieces: 100, everyMs: 100 };

/** Every stream has its own rhythm: they do not all speak in the same millisecond. */
function sendDue(): void {
  const now = systemClock.monotonic();
  for (const stream of open) {
    if (stream.dueAt > now) continue;
    if (stream.left === 0) {
      open.delete(stream);
      stream.response.end(END);
      continue;
    }
    stream.left -= 1;
    stream.dueAt += pace.everyMs;
    stream.response.write(piece());
  }
}

const server = createServer((request, response) => {
  request.resume();
  request.once('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(FIRST + piece());
    const stream = { response, left: pace.pieces - 1, dueAt: systemClock.monotonic() + pace.everyMs };
    open.add(stream);
    response.once('close', () => open.delete(stream));
  });
});
server.keepAliveTimeout = 60_000;
const listening = new Promise<string>((resolve) => {
  server.listen(0, '127.0.0.1', () => {
    resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
});
setInterval(sendDue, 1);

answerWith((next: StreamPace) => {
  Object.assign(pace, next);
  return listening;
});
