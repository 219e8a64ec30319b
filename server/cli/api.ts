import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CliError, EXIT, type ExitCode, type Io } from './io.ts';
import { whileWaiting } from './output.ts';

export type Json = Record<string, unknown>;

export interface ServerEvent {
  name: string;
  data: Json;
}

/** The admin API of one server. What it refuses is thrown as a `CliError` with the exit code that fits. */
export interface Api {
  get<T = Json>(path: string): Promise<T>;
  send<T = Json>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: Json): Promise<T>;
  /** The events of a streamed answer until its end; an `error` event is thrown. */
  events(path: string, body: Json): AsyncGenerator<ServerEvent>;
  /** An answer whose body is a file, still to be read. */
  download(path: string): Promise<IncomingMessage>;
  upload<T = Json>(path: string, file: Readable, sizeBytes: number): Promise<T>;
  close(): void;
}

type Body = { type: string; text: string } | { type: string; stream: Readable; length: number };

const ERROR_BYTES_MAX = 64 * 1024;

/** No time limits: a large file takes as long as it takes, and whoever waits can press Ctrl-C. */
export function createApi(io: Io, baseUrl: string, token: string): Api {
  const isHttps = baseUrl.startsWith('https:');
  const agent = isHttps ? new HttpsAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
  const start = isHttps ? httpsRequest : httpRequest;

  async function call(method: string, path: string, body?: Body): Promise<IncomingMessage> {
    const request = start(`${baseUrl.replace(/\/+$/, '')}${path}`, {
      method,
      agent,
      headers: {
        Authorization: `Bearer ${token}`,
        ...(body && {
          'Content-Type': body.type,
          'Content-Length': 'text' in body ? Buffer.byteLength(body.text) : body.length,
        }),
      },
    });
    const answered = once(request, 'response') as Promise<[IncomingMessage]>;
    try {
      // A server that has seen enough of an upload answers before its end and closes.
      const sent = body && 'stream' in body ? pipeline(body.stream, request) : Promise.resolve();
      if (!body) request.end();
      else if ('text' in body) request.end(body.text);
      // What is on its way has a bar of its own.
      const waited = sent.then(() => whileWaiting(io, 'Working', answered));
      const [response] = await Promise.race([answered, waited]);
      waited.catch(() => {});
      if ((response.statusCode ?? 500) >= 400) throw await problemOf(response);
      return response;
    } catch (error) {
      answered.catch(() => {});
      if (error instanceof CliError) throw error;
      throw unreachable(baseUrl, error);
    }
  }

  const json = (body: Json): Body => ({ type: 'application/json', text: JSON.stringify(body) });

  return {
    get: async <T>(path: string) => readJson<T>(await call('GET', path)),
    send: async <T>(method: string, path: string, body?: Json) =>
      readJson<T>(await call(method, path, body && json(body))),
    async *events(path, body) {
      for await (const event of readEvents(await call('POST', path, json(body)))) {
        if (event.name === 'error') throw errorOf(Number(event.data.status), event.data);
        if (event.name !== 'ping') yield event;
      }
    },
    download: (path) => call('GET', path),
    upload: async <T>(path: string, stream: Readable, length: number) =>
      readJson<T>(await call('POST', path, { type: 'application/vnd.sqlite3', stream, length })),
    close: () => agent.destroy(),
  };
}

async function readText(response: IncomingMessage, charsMax: number): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    text += chunk;
    if (text.length > charsMax) break;
  }
  return text;
}

async function readJson<T>(response: IncomingMessage): Promise<T> {
  const text = await readText(response, Number.POSITIVE_INFINITY);
  if (text === '') return {} as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new CliError(EXIT.failed, 'The answer is not JSON; is this address a Nimblesite server?');
  }
}

async function* readEvents(response: IncomingMessage): AsyncGenerator<ServerEvent> {
  let rest = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      if (name !== undefined && data !== undefined) yield { name, data: JSON.parse(data) as Json };
    }
  }
}

const EXIT_BY_STATUS: Record<number, ExitCode> = {
  401: EXIT.unreachable,
  404: EXIT.notFound,
  400: EXIT.refused,
  403: EXIT.refused,
  409: EXIT.refused,
  413: EXIT.refused,
  422: EXIT.refused,
  429: EXIT.refused,
  507: EXIT.refused,
};

function errorOf(status: number, problem: Json): CliError {
  const code = typeof problem.code === 'string' ? problem.code : null;
  const detail = typeof problem.detail === 'string' ? problem.detail : `The server answered ${status}.`;
  if (status === 401) {
    return new CliError(
      EXIT.unreachable,
      `The server does not know this admin token. ${HOW_TO_GIVE_TOKEN}`,
      code,
    );
  }
  if (code === null) {
    // Of another program, whose 404 says nothing about a tenant; one above 499 may be of a proxy that finds no server.
    const question = status < 500 ? ' Is this the address of a Nimblesite server?' : '';
    return new CliError(EXIT.failed, `${detail}${question}`);
  }
  if (code === 'tenant_unavailable') {
    return new CliError(
      EXIT.failed,
      `${detail} If its file is damaged or lost, "nimblesite doctor" says so.`,
      code,
    );
  }
  const faults = Array.isArray(problem.errors) ? (problem.errors as { path: string; message: string }[]) : [];
  if (code === 'validation_failed' && faults.length > 0) {
    const lines = faults.map(({ path, message }) => `\n  ${path === '' ? 'input' : path}: ${message}`);
    return new CliError(EXIT.usage, `That is not valid:${lines.join('')}`, code);
  }
  const exitCode = code === 'validation_failed' ? EXIT.usage : (EXIT_BY_STATUS[status] ?? EXIT.failed);
  return new CliError(exitCode, detail, code);
}

async function problemOf(response: IncomingMessage): Promise<CliError> {
  const status = response.statusCode ?? 500;
  const text = await readText(response, ERROR_BYTES_MAX).catch(() => '');
  try {
    return errorOf(status, JSON.parse(text) as Json);
  } catch {
    return errorOf(status, {});
  }
}

/** Never as a plain option: it would stand in the list of processes. */
export const HOW_TO_GIVE_TOKEN =
  'Give it in the environment variable ADMIN_TOKEN, or in a file with --admin-token-file FILE.';

function unreachable(url: string, error: unknown): CliError {
  const reason = error instanceof Error && error.message !== '' ? error.message : String(error);
  return new CliError(EXIT.unreachable, `The server at ${url} cannot be reached: ${reason}`);
}
