import { type FileHandle, open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';
import { Fault, notFound } from '../../tenant-schema/fault.ts';
import { readPieces } from '../../tenant-schema/pieces.ts';
import { DATABASE_TYPE, type FileReplyOptions } from '../endpoints/endpoint.ts';
import type { IncomingFile } from '../operations/tenants.ts';
import type { Pace } from './pace.ts';
import { toFault } from './problem.ts';
import type { RequestContext } from './state.ts';

/** How often whoever takes a file is told how much has come. */
const PROGRESS_BYTES = 4 * 1024 * 1024;

/** A client that gives or takes nothing for so long has left without saying so. */
const STALLED_MS = 120_000;

/** Marks the response of a request whose body is a file. */
const RECEIVING = Symbol('receiving a file');

/** Whether the connection is at work on a file, which takes as long as it takes. */
export const isReceivingFile = (socket: Duplex): boolean => {
  const response: unknown = Reflect.get(socket, '_httpMessage');
  return typeof response === 'object' && response !== null && Reflect.get(response, RECEIVING) === true;
};

/** Says that the request's body may take as long as it takes. */
export const markReceiving = (response: ServerResponse): void => {
  Reflect.set(response, RECEIVING, true);
};

const tooLarge = (bytesMax: number): Fault =>
  new Fault('body_too_large', `The file may have at most ${bytesMax} bytes.`);

/** The body of a request as a file that can be taken once, piece by piece; nothing of it is read before. */
export function incomingFile(
  request: IncomingMessage,
  response: ServerResponse,
  bytesMax: number,
): IncomingFile {
  const given = request.headers['content-length'];
  const sizeBytes = given === undefined ? null : Number(given);
  return {
    sizeBytes,
    async writeTo(path, progress) {
      const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
      if (encoding !== 'identity')
        throw new Fault('unsupported_media_type', 'The file must not be compressed.');
      if (sizeBytes !== null && sizeBytes > bytesMax) throw tooLarge(bytesMax);
      // A client that waits to be asked is only asked once its body is wanted.
      if (/^100-continue$/i.test(request.headers.expect ?? '')) response.writeContinue();
      markReceiving(response);
      request.socket.setTimeout(STALLED_MS);
      const file = await open(path, 'wx', 0o600);
      try {
        await receive(
          request,
          bytesMax,
          (piece) => file.appendFile(piece),
          async (bytes) => {
            // The disk keeps up: all at the end, it would keep those waiting for it who chat.
            await syncInTurn(file);
            await progress(bytes);
          },
        );
      } finally {
        Reflect.deleteProperty(response, RECEIVING);
        // What is done with the file takes its time, in which the client has nothing to send.
        request.socket.setTimeout(0);
        await file.close();
      }
    },
  };
}

let syncing: Promise<void> = Promise.resolve();

/** One file at a time: each sync holds one of the few threads of libuv, and those of turns need them. */
function syncInTurn(file: FileHandle): Promise<void> {
  const sync = (): Promise<void> => file.datasync();
  const synced = syncing.then(sync, sync);
  syncing = synced;
  return synced;
}

async function receive(
  request: IncomingMessage,
  bytesMax: number,
  write: (piece: Buffer) => Promise<void>,
  progress: (bytes: number) => Promise<void>,
): Promise<void> {
  let bytes = 0;
  let told = 0;
  // What ends early must leave the connection open for the answer.
  const pieces = request.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]();
  for (;;) {
    const next = await pieces.next().catch((error: unknown) => {
      throw new Fault('client_closed_request', 'The client went away.', { cause: error });
    });
    if (next.done) return progress(bytes);
    const piece: Buffer = next.value;
    bytes += piece.length;
    try {
      if (bytes > bytesMax) throw tooLarge(bytesMax);
      await write(piece);
      if (bytes - told < PROGRESS_BYTES) continue;
      await progress(bytes);
      told = bytes;
    } catch (error) {
      await pieces.return?.();
      // The rest is read and dropped, so that a client that sends first and reads afterwards gets to see the answer.
      request.resume();
      throw error;
    }
  }
}

/** A name that no system and no header takes amiss. */
const safeName = (name: string): string => name.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+/, '');

/**
 * Sends a file, or the part of it that was asked for, as fast as the client takes it and the pace allows, and releases
 * it whatever happens. @throws `range_not_satisfiable`, `not_found`, the signal's reason before anything is sent
 */
export async function sendFile(ctx: RequestContext, options: FileReplyOptions, pace: Pace): Promise<void> {
  let released = false;
  const release = async (): Promise<void> => {
    if (released) return;
    released = true;
    await options.release?.();
  };
  try {
    const file = await open(options.path, 'r').catch((error: unknown) => {
      // Removed since it was looked up.
      throw error instanceof Error && 'code' in error && error.code === 'ENOENT' ? notFound() : error;
    });
    try {
      const { size } = await file.stat();
      const etag = `"${options.sha256}"`;
      if (matches(ctx.get('If-None-Match'), etag)) {
        ctx.set('ETag', etag);
        ctx.status = 304;
        return;
      }
      const range = options.resumable && ctx.method === 'GET' ? rangeOf(ctx, etag, size) : null;
      const start = range?.start ?? 0;
      const end = range?.end ?? size - 1;
      let left = end - start + 1;
      options.signal?.throwIfAborted();
      const digest = Buffer.from(options.sha256, 'hex').toString('base64');
      ctx.respond = false;
      ctx.status = range ? 206 : 200;
      ctx.set({
        'Content-Type': DATABASE_TYPE,
        'Content-Length': String(left),
        'Content-Disposition': `attachment; filename="${safeName(options.fileName)}"`,
        'Accept-Ranges': options.resumable ? 'bytes' : 'none',
        ETag: etag,
        // Of the whole file, in the present form and in the one before it.
        'Repr-Digest': `sha-256=:${digest}:`,
        Digest: `sha-256=${digest}`,
        ...(range && { 'Content-Range': `bytes ${start}-${end}/${size}` }),
      });
      if (ctx.method === 'HEAD') {
        await release();
        ctx.res.end();
      } else {
        ctx.res.socket?.setTimeout(STALLED_MS);
        const write = writerTo(ctx.res, options.signal);
        await readPieces(file, { start, end }, async (piece) => {
          await pace(piece.length);
          left -= piece.length;
          // Whoever has it all may ask again at once.
          if (left === 0) await release();
          await write(piece);
        });
        await write(null);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!ctx.res.headersSent && ctx.respond !== false) throw error;
    // Too late for another answer: the connection is closed, and the log says why.
    ctx.res.destroy();
    const reason: unknown = options.signal?.aborted ? options.signal.reason : error;
    if (!isPrematureClose(reason)) ctx.state.fault = toFault(reason);
  } finally {
    await release();
  }
}

/**
 * Writes to a response, and with null ends it. What is written may be overwritten once the promise resolves. It rejects
 * where the client has left, or the signal was given.
 */
function writerTo(response: ServerResponse, signal: AbortSignal | undefined) {
  const over = finished(response, { ...(signal && { signal }) });
  let failure: { error: unknown } | null = null;
  let onFailure = (_error: unknown): void => {};
  over.catch((error: unknown) => {
    failure = { error };
    onFailure(error);
  });
  return async (piece: Buffer | null): Promise<void> => {
    if (failure) throw failure.error;
    if (piece === null) {
      response.end();
      return over;
    }
    await new Promise<void>((resolve, reject) => {
      onFailure = reject;
      // Why it failed is told by the response, once it is closed.
      response.write(piece, (error) => (error ? response.destroy() : resolve()));
    });
  };
}

const isPrematureClose = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE';

/** Whether a list of ETags names this one, weak or not. */
const matches = (list: string, etag: string): boolean =>
  list.split(',').some((item) => ['*', etag].includes(item.trim().replace(/^W\//, '')));

/**
 * The one range that is asked for, in bytes, both ends included. Null where the whole file is to be sent: without a
 * range, with several, with one that cannot be read, or of a file that is not this one any more.
 */
function rangeOf(ctx: RequestContext, etag: string, size: number): { start: number; end: number } | null {
  const ifRange = ctx.get('If-Range');
  if (ifRange !== '' && ifRange !== etag) return null;
  const [, first = '', last = ''] = /^bytes=\s*(\d{0,15})-(\d{0,15})$/i.exec(ctx.get('Range').trim()) ?? [];
  if (first === '' && last === '') return null;
  const start = first === '' ? Math.max(size - Number(last), 0) : Number(first);
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1);
  if (first !== '' && last !== '' && Number(last) < start) return null;
  if (start >= size || (first === '' && Number(last) === 0)) {
    throw new Fault('range_not_satisfiable', `The file has ${size} bytes.`, { details: { sizeBytes: size } });
  }
  return { start, end };
}
