import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerWith } from './processes.ts';

// A model's API that answers at once and always the same, as a process of its own: an event stream where the request
// asks for one, otherwise one JSON object with the same words and usage.

const PIECES = 8;
const base = { id: 'chatcmpl-bench', created: 1_700_000_000, model: 'bench' };
const usage = { prompt_tokens: 40, completion_tokens: 16, total_tokens: 56 };
const pieces = Array.from({ length: PIECES }, (_, index) => `piece ${index} of the answer. `);

const chunk = (delta: object, finish: string | null = null): string =>
  `data: ${JSON.stringify({ ...base, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const STREAM = Buffer.from(
  [
    chunk({ role: 'assistant', content: '' }),
    ...pieces.map((content) => chunk({ content })),
    chunk({}, 'stop'),
    `data: ${JSON.stringify({ ...base, object: 'chat.completion.chunk', choices: [], usage })}\n\n`,
    'data: [DONE]\n\n',
  ].join(''),
);
const message = { role: 'assistant', content: pieces.join('') };
const PLAIN = Buffer.from(
  JSON.stringify({
    ...base,
    object: 'chat.completion',
    choices: [{ index: 0, message, finish_reason: 'stop' }],
    usage,
  }),
);

/** How the SDKs, Portkey and `bench/bare.ts` write it; a message of a benchmark never holds these words. */
const ASKS_FOR_STREAM = /"stream":\s*true/;

function answer(response: ServerResponse, body: string): void {
  const [type, text] = ASKS_FOR_STREAM.test(body)
    ? ['text/event-stream', STREAM]
    : ['application/json', PLAIN];
  response.writeHead(200, { 'content-type': type, 'content-length': text.length });
  response.end(text);
}

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.once('end', () => answer(response, Buffer.concat(parts).toString()));
});
server.keepAliveTimeout = 60_000;
const listening = new Promise<string>((resolve) => {
  server.listen(0, '127.0.0.1', () => {
    resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
});

/** Any message is answered with the address. */
answerWith(() => listening);
