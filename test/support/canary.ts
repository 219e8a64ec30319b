import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesIn } from './files.ts';

/** Secrets by what they are called in a finding. */
export type Secrets = Record<string, string | Buffer>;

/** Base64 of text that begins at any of the three places of a group, without the characters that its neighbours share. */
function base64Forms(bytes: Buffer, encoding: 'base64' | 'base64url'): string[] {
  return [0, 1, 2].map((shift) => {
    const padded = Buffer.concat([Buffer.alloc(shift), bytes]);
    const whole = padded.subarray(0, padded.length - (padded.length % 3)).toString(encoding);
    return whole.slice(shift === 0 ? 0 : 4);
  });
}

/** The forms in which a secret may be written down by mistake. */
function formsOf(secret: string | Buffer): Buffer[] {
  const bytes = Buffer.from(secret);
  const hex = bytes.toString('hex');
  const forms = [hex, hex.toUpperCase(), ...base64Forms(bytes, 'base64'), ...base64Forms(bytes, 'base64url')];
  if (typeof secret === 'string') {
    forms.push(encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1));
  }
  return [bytes, ...new Set(forms)].map((form) => Buffer.from(form));
}

/**
 * Where a secret stands, in whatever form: in a file below the folder, raw bytes and `-wal` included, or in the
 * output. Reads files as they are, so never in the process of a server that has them open.
 */
export function findSecrets(folder: string, output: string, secrets: Secrets): string[] {
  const places: [place: string, bytes: Buffer][] = [
    ['the output', Buffer.from(output)],
    ...filesIn(folder).map((name): [string, Buffer] => [name, readFileSync(join(folder, name))]),
  ];
  return Object.entries(secrets).flatMap(([name, secret]) => {
    const forms = formsOf(secret);
    return places
      .filter(([, bytes]) => forms.some((form) => bytes.includes(form)))
      .map(([place]) => `${name} in ${place}`);
  });
}
