import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';

const KEY_BYTES = 32;
/** What NIST's SP 800-38D asks for random nonces: 96 bits, for at most 2^32 sealings with one key. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';
/** The first byte of whatever is sealed, so that another cipher could follow. */
const FORMAT = 1;

/** Whose secret is sealed: opened under another name, it does not open. */
export interface SecretOwner {
  tenantId: string;
  provider: string;
}

/** A key that keeps other secrets. Its own bytes are in here, out of reach. */
export interface MasterKey {
  /** Tells keys apart and may be shown: nothing can be found out from it. */
  readonly id: string;
  /** As text, for the file that holds it. */
  encode(): string;
  seal(owner: SecretOwner, secret: string): Buffer;
  /** Null where it was sealed by another key or for another owner, or was changed. */
  open(owner: SecretOwner, sealed: Buffer): string | null;
}

/** The text of a master key, base64 or hexadecimal, as its 32 bytes; null where it is none. */
export function parseMasterKey(text: string): Buffer | null {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === KEY_BYTES ? bytes : null;
}

export const newMasterKey = (): MasterKey => createMasterKey(randomBytes(KEY_BYTES));

/** @param bytes 32 of them, which must not be changed any more */
export function createMasterKey(bytes: Buffer): MasterKey {
  if (bytes.length !== KEY_BYTES) throw new RangeError(`a master key has ${KEY_BYTES} bytes`);
  const id = createHmac('sha256', bytes).update('id of this master key').digest('hex').slice(0, 16);
  // A list as JSON reads in one way only, whatever its texts hold.
  const associated = ({ tenantId, provider }: SecretOwner) =>
    Buffer.from(JSON.stringify(['provider key', tenantId, provider, id]));
  return {
    id,
    encode: () => bytes.toString('base64'),

    seal(owner, secret) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, bytes, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(associated(owner));
      const text = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
      return Buffer.concat([Buffer.of(FORMAT), nonce, cipher.getAuthTag(), text]);
    },

    open(owner, sealed) {
      const head = 1 + NONCE_BYTES + TAG_BYTES;
      if (sealed.length < head || sealed[0] !== FORMAT) return null;
      const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
      const decipher = createDecipheriv(CIPHER, bytes, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(associated(owner));
      decipher.setAuthTag(sealed.subarray(1 + NONCE_BYTES, head));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(head)), decipher.final()]).toString('utf8');
      } catch {
        return null;
      }
    },
  };
}
