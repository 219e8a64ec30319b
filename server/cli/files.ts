import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, link, open, rename, rm, stat } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { basename, dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { CliError, EXIT, type Io } from './io.ts';
import { bytes, type Progress, progressBar } from './output.ts';

export interface SavedFile {
  /** Absolute. */
  path: string;
  size_bytes: number;
  /** Hexadecimal. */
  sha256: string;
}

const refuseToOverwrite = (path: string): CliError =>
  new CliError(EXIT.refused, `${path} exists already; choose another name, or --force to replace it.`);

/** @throws `CliError` where the file is there or could not be written, before any work is asked for. */
export async function requireFree(path: string, force: boolean): Promise<void> {
  const there = await stat(path).catch(() => null);
  if (there?.isDirectory()) {
    throw new CliError(EXIT.refused, `${path} is a folder; say the name of a file in it.`);
  }
  if (there && !force) throw refuseToOverwrite(path);
  const folder = dirname(resolve(path));
  if (!(await exists(folder))) throw new CliError(EXIT.notFound, `There is no folder ${folder}.`);
  await access(folder, constants.W_OK).catch((error: unknown) => {
    const reason = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    throw new CliError(
      EXIT.refused,
      `Nothing can be written in ${folder}${reason}; choose another file with --output.`,
    );
  });
}

const exists = (path: string): Promise<boolean> =>
  access(path, constants.F_OK).then(
    () => true,
    () => false,
  );

/**
 * Writes an answer's body to a file: under a name of its own until it is whole, on the disk and has the digest that
 * the server told.
 */
export async function save(
  io: Io,
  answer: IncomingMessage,
  target: string,
  force: boolean,
): Promise<SavedFile> {
  const path = resolve(target);
  const unfinished = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.part`);
  const expected = digestOf(answer);
  const total = Number(answer.headers['content-length'] ?? 0);
  const bar = progressBar(io, 'Downloading', bytes);
  const hash = createHash('sha256');
  let size = 0;
  try {
    const file = await open(unfinished, 'wx', 0o600);
    try {
      for await (const chunk of answer as AsyncIterable<Buffer>) {
        hash.update(chunk);
        size += chunk.length;
        await file.writeFile(chunk);
        bar.update(size, total);
      }
      await file.sync();
    } finally {
      await file.close();
      bar.clear();
    }
    const sha256 = hash.digest('hex');
    if ((total > 0 && size !== total) || (expected !== null && sha256 !== expected)) {
      throw new CliError(EXIT.failed, 'The file did not arrive whole; nothing was kept.');
    }
    if (force) await rename(unfinished, path);
    else await linkNew(unfinished, path);
    await syncFolder(dirname(path));
    return { path, size_bytes: size, sha256 };
  } finally {
    await rm(unfinished, { force: true });
  }
}

/** A link, other than a rename, takes no name that somebody else took in the meantime. */
async function linkNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') throw refuseToOverwrite(to);
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** The SHA-256 that the server told, in whichever way, as hexadecimal. */
function digestOf({ headers }: IncomingMessage): string | null {
  for (const name of ['repr-digest', 'content-digest', 'digest']) {
    const given = headers[name];
    const [, base64] = /sha-256=:?([A-Za-z0-9+/]{43}=):?/i.exec(String(given ?? '')) ?? [];
    if (base64 !== undefined) return Buffer.from(base64, 'base64').toString('hex');
  }
  return /^"([0-9a-f]{64})"$/.exec(headers.etag ?? '')?.[1] ?? null;
}

/** A tenant's file to be sent. @throws `CliError` where it is missing, or not whole for a `-wal` beside it. */
export async function openForUpload(
  io: Io,
  path: string,
): Promise<{ stream: Readable; sizeBytes: number; bar: Progress }> {
  const facts = await stat(path).catch(() => null);
  if (!facts?.isFile()) throw new CliError(EXIT.notFound, `There is no file ${path}.`);
  if (await exists(`${path}-wal`)) {
    throw new CliError(
      EXIT.refused,
      `${path} is not whole: the latest changes are in ${basename(path)}-wal. ` +
        'Stop whatever has it open, or use "nimblesite tenant quiesce" there, and copy it again.',
    );
  }
  const file = await open(path, 'r');
  const bar = progressBar(io, 'Uploading', bytes);
  const stream = file.createReadStream();
  let sent = 0;
  stream.on('data', (chunk) => {
    sent += chunk.length;
    bar.update(sent, facts.size);
  });
  stream.on('close', () => bar.clear());
  // Until it is piped: a listener for the data alone would let them flow.
  stream.pause();
  return { stream, sizeBytes: facts.size, bar };
}
