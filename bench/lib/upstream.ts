import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerWith } from './processes.ts';

// A model's API that answers at once and always the same, as a process of its own.

const base = {
  id: 'chatcmpl-bench',
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'bench',
};
const chunk = (delta: object, finish: string | null = null): string =>
  `data: ${JSON.stringify({ ...base, choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const usage = { prompt_tokens: 40, completion_tokens: 16, total_tokens: 56 };
const ANSWER = Buffer.from(
  [
    chunk({ role: 'assistant', content: '' }),
    ...Array.from({ length: 8 }, (_, index) => chunk({ content: `piece ${index} of the answer. ` })),
    chunk({}, 'stop'),
    `data: ${JSON.stringify({ ...base, choices: [], usage })}\n\n`,
    'data: [DONE]\n\n',
  ].join(''),
);

const server = createServer((request, response) => {
  request.resume();
  request.once('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'content-length': ANSWER.length });
    response.end(ANSWER);
  });
});
server.keepAliveTimeout = 60_000;
const listening = new Promise<string>((resolve) => {
  server.listen(0, '127.0.0.1', () => {
    resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
});

/** Any message is answered with the address. */
answerWith(() => listening);
