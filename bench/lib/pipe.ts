import { Agent, request as ask, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerWith } from './processes.ts';

// Passes each request on and its answer back as it comes, and does nothing else, as a process of its own.

answerWith(async ({ upstreamUrl }: { upstreamUrl: string }): Promise<string> => {
  const agent = new Agent({ keepAlive: true });
  const server = createServer((request, response) => {
    const { 'content-type': type, 'content-length': length } = request.headers;
    const headers = { 'content-type': type ?? 'application/json', 'content-length': length ?? '0' };
    const onward = ask(`${upstreamUrl}${request.url}`, { method: 'POST', agent, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, { 'content-type': answer.headers['content-type'] ?? '' });
      answer.pipe(response);
    });
    onward.once('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
