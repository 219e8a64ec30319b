import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Mark, makeKey } from './key-format.ts';

const SALT_BYTES = 16;

/** What is kept of a secret that the server has made. */
export interface StoredSecret {
  salt: Buffer;
  hash: Buffer;
}

/** A fresh secret: the text for whoever is to hold it, and what is kept of it. */
export function makeSecret(id: string, mark?: Mark): { text: string; stored: StoredSecret } {
  const { text, secret } = makeKey(id, mark);
  const salt = randomBytes(SALT_BYTES);
  return { text, stored: { salt, hash: hashSecret(salt, secret) } };
}

/** Whether this is the secret that was stored, told in the same time whatever it is. */
export const isSecret = ({ salt, hash }: StoredSecret, secret: string): boolean =>
  timingSafeEqual(hash, hashSecret(salt, secret));

/** The secret has 256 random bits, so there is nothing to guess and nothing that a slow hash would add. */
const hashSecret = (salt: Buffer, secret: string): Buffer =>
  createHash('sha256').update(salt).update(secret).digest();
