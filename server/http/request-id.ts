import type { IncomingMessage } from 'node:http';
import type { IdMaker } from '../../tenant-schema/ids.ts';

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** The client's `X-Request-Id` where it is a sane one, else one that is made. */
export function requestIdOf(request: IncomingMessage, ids: IdMaker): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : ids();
}
