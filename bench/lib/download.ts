import { get, type IncomingMessage } from 'node:http';
import { answerWith } from './processes.ts';

// Takes files from a server, as a process of its own. On loopback whoever takes long to read makes the system send
// megabytes at once when he does, which all others' packets wait for: it reads as it comes, and as cheaply as it can.

export interface Download {
  url: string;
  headers: Record<string, string>;
}

const opened = ({ url, headers }: Download): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    get(url, { headers }, resolve).on('error', reject);
  });

/** Gives how many bytes there were. */
answerWith(async (download: Download): Promise<number> => {
  const response = await opened(download);
  if (response.statusCode !== 200) throw new Error(`${download.url} answered ${response.statusCode}`);
  let bytes = 0;
  response.on('data', (part: Buffer) => {
    bytes += part.length;
  });
  await new Promise<void>((resolve, reject) => {
    response.on('end', resolve).on('error', reject);
  });
  return bytes;
});
