import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { isId } from '../tenant-schema/ids.ts';

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** log2(62) × 43 = 256.03 bits. */
const SECRET_CHARS = 43;
/** The smallest number of base62 digits that holds 32 bits. */
const CHECKSUM_CHARS = 6;
const KEY = /^nb[acs]_([0-9a-f]{32})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;

/** What every tenant key begins with; an admin token never does. */
export const KEY_MARK = 'nbs_';
/** What the admin tokens begin with that the server makes. */
export const ADMIN_MARK = 'nba_';
/** What the sessions of the console begin with. */
export const SESSION_MARK = 'nbc_';
export type Mark = typeof KEY_MARK | typeof ADMIN_MARK | typeof SESSION_MARK;

export interface ParsedKey {
  keyId: string;
  secret: string;
}

/** 256 uniformly random bits as letters and digits. */
export const randomSecret = (): string =>
  Array.from({ length: SECRET_CHARS }, () => BASE62.charAt(randomInt(62))).join('');

/** The part of a key that may be shown: which key it is, without what opens anything. */
export const keyPrefix = (keyId: string): string => KEY_MARK + keyId.replaceAll('-', '');

/** Makes the text of a key with a fresh secret. The text is for the client only; the secret's hash is for the database. */
export function makeKey(keyId: string, mark: Mark = KEY_MARK): { text: string; secret: string } {
  const secret = randomSecret();
  const body = `${mark}${keyId.replaceAll('-', '')}_${secret}`;
  return { text: body + checksum(body), secret };
}

/**
 * Takes a key apart, or gives undefined where it cannot be one. The checksum finds every single wrong
 * character, so a typo costs no look into the database.
 */
export function parseKey(text: string, mark: Mark = KEY_MARK): ParsedKey | undefined {
  if (!text.startsWith(mark)) return undefined;
  const [, hex, secret, sum] = KEY.exec(text) ?? [];
  if (hex === undefined || secret === undefined) return undefined;
  if (checksum(text.slice(0, -CHECKSUM_CHARS)) !== sum) return undefined;
  const keyId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return isId(keyId) ? { keyId, secret } : undefined;
}

function checksum(body: string): string {
  let rest = crc32(body);
  let digits = '';
  for (let i = 0; i < CHECKSUM_CHARS; i += 1) {
    digits = BASE62.charAt(rest % 62) + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}
