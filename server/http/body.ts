import type { IncomingMessage, ServerResponse } from 'node:http';
import getRawBody from 'raw-body';
import { Fault, invalid } from '../../tenant-schema/fault.ts';

/** `json`: it says so. `unsaid`: no type, or the one that curl puts there by itself. */
function bodyKind(contentType: string | undefined): 'json' | 'unsaid' | 'other' {
  const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (type === 'application/json' || /^application\/[\w.-]+\+json$/.test(type)) return 'json';
  return type === '' || type === 'application/x-www-form-urlencoded' ? 'unsaid' : 'other';
}

const unsupported = (detail: string): Fault => new Fault('unsupported_media_type', detail);

async function readBytes(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  try {
    return await getRawBody(request, {
      limit: bytesMax,
      length: request.headers['content-length'] ?? null,
    });
  } catch (error) {
    const type = error instanceof Error && 'type' in error ? error.type : undefined;
    if (type === 'entity.too.large') {
      // The rest is read and dropped, so that a client that sends first and reads afterwards gets to see the
      // answer, and the connection can be used again.
      request.resume();
      throw new Fault('body_too_large', `The body may have at most ${bytesMax} bytes.`);
    }
    if (type === 'request.aborted') {
      throw new Fault('client_closed_request', 'The client went away.', { cause: error });
    }
    throw error;
  }
}

/**
 * Reads a request's body as a JSON object.
 * @param options.mayBeEmpty no body counts as `{}`
 * @throws `unsupported_media_type`, `body_too_large`, `invalid_json`, or `validation_failed` for JSON that is
 *   not an object.
 */
export async function readJsonObject(
  request: IncomingMessage,
  response: ServerResponse,
  { bytesMax, mayBeEmpty }: { bytesMax: number; mayBeEmpty: boolean },
): Promise<object> {
  const kind = bodyKind(request.headers['content-type']);
  if (kind === 'other') throw unsupported('The body must be JSON, sent as application/json.');
  const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity') throw unsupported('The body must not be compressed.');

  // A client that waits to be asked is only asked once its body is wanted.
  const length = Number(request.headers['content-length'] ?? 0);
  if (/^100-continue$/i.test(request.headers.expect ?? '') && length <= bytesMax) response.writeContinue();
  const bytes = await readBytes(request, bytesMax);

  if (bytes.length === 0 && mayBeEmpty) return {};

  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    if (bytes.length > 0 && kind === 'unsaid') {
      throw unsupported('The body is not JSON. Send JSON, as application/json.');
    }
    throw new Fault(
      'invalid_json',
      bytes.length === 0 ? 'The body is empty; it must be a JSON object.' : 'The body is not JSON in UTF-8.',
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid([{ path: '', message: 'The body must be a JSON object' }]);
  }
  return value;
}
