import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createMasterKey,
  type MasterKey,
  newMasterKey,
  parseMasterKey,
} from '../../control-plane/master-key.ts';
import type { Actor, ControlPlane, Reseal } from '../../control-plane/types.ts';
import { invalid } from '../../tenant-schema/fault.ts';
import { syncFolder, writeWhole } from './disk.ts';
import { createInTurn } from './in-turn.ts';

/** The key that tenants' own provider keys are sealed with: kept in `master.key`, or given in the environment. */
export interface MasterKeys {
  /**
   * Makes a new key and seals every provider key with it. What a crash leaves half done is finished, or undone, by the
   * next start. @throws `validation_failed` where the key is given in the environment, `provider_not_configured` where
   * some provider keys cannot be opened and are not to be dropped
   */
  rotate(options: { dropUnopenable: boolean }, actor: Actor): Promise<Reseal>;
  /** Those that open provider keys at present, the one that seals first. */
  inUse(): readonly MasterKey[];
  /** Whether it is kept in the file, and not given in the environment. */
  readonly isInFile: boolean;
  /** Whether the file should be there and is not, or holds no key. */
  isFileMissing(): Promise<boolean>;
}

/** What a rotation has just done; only tests listen. */
export type RotationStep = 'staged' | 'resealed' | 'renamed';

export interface MasterKeyParts {
  control: ControlPlane;
  dataDir: string;
  /** The key itself, in the place of the file. */
  given: Buffer | null;
  /** What provider keys may still be sealed with; those are sealed anew. */
  previous: Buffer | null;
  log: { warn(fields: object, message: string): void };
  /** Gives every other process of the server these keys; resolves when all of them open with each. */
  share?(keys: readonly MasterKey[]): Promise<void>;
  atStep?: (step: RotationStep) => void;
}

export const MASTER_KEY_FILE = 'master.key';
const SYSTEM: Actor = { id: 'system', name: 'system', requestId: null };

/** The key in a file; `unusable` for a file that holds none. */
async function readKey(path: string): Promise<MasterKey | 'missing' | 'unusable'> {
  try {
    const bytes = parseMasterKey((await readFile(path, 'utf8')).trim());
    return bytes === null ? 'unusable' : createMasterKey(bytes);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'missing';
    return 'unusable';
  }
}

const writeKey = (path: string, key: MasterKey): Promise<void> => writeWhole(path, `${key.encode()}\n`);

/**
 * Finds the master key, or makes one where nothing is sealed yet, and unlocks the provider keys with it. A server
 * without the right one goes on: the tenants concerned are told so at their next turn.
 */
export async function openMasterKeys(parts: MasterKeyParts): Promise<MasterKeys> {
  const { control, dataDir, log } = parts;
  const path = join(dataDir, MASTER_KEY_FILE);
  const nextPath = `${path}.next`;
  const inTurn = createInTurn();
  let current = parts.given && createMasterKey(parts.given);

  /** Ends a rotation that was cut off: the new key counts if anything is sealed with it. */
  const settle = async (): Promise<void> => {
    const next = await readKey(nextPath);
    if (next === 'missing') return;
    if (next !== 'unusable' && (next.id === current?.id || control.countProviderKeys(next.id) > 0)) {
      await rename(nextPath, path);
    } else {
      await rm(nextPath);
    }
    await syncFolder(dataDir);
  };

  const previous = parts.previous && createMasterKey(parts.previous);
  if (!parts.given) {
    await settle();
    const kept = await readKey(path);
    const sealedBefore = previous ? control.countProviderKeys(previous.id) : 0;
    if (kept === 'missing' && control.countProviderKeys() === sealedBefore) {
      current = newMasterKey();
      await writeKey(path, current);
    } else if (typeof kept !== 'string') current = kept;
  }
  control.unlockProviderKeys(current, previous);
  /** For what may as well be done later: on a disk that is full, say. */
  const attempt = (message: string, work: () => void): void => {
    try {
      work();
    } catch (error) {
      log.warn({ err: error }, message);
    }
  };
  /** No page keeps what the old key opens. */
  const compact = (): void => attempt('control.db still has what the old master key opens', control.compact);

  if (current && previous && previous.id !== current.id && control.countProviderKeys(previous.id) > 0) {
    const next = current;
    attempt('provider keys are not sealed anew yet: keep MASTER_KEY_PREVIOUS', () => {
      control.resealProviderKeys(next, 'keep', SYSTEM);
      compact();
    });
  }
  const { unopenable } = await control.checkProviderKeys();
  if (unopenable > 0) {
    log.warn(
      { provider_keys: unopenable },
      `${unopenable} provider keys cannot be opened: put the right ${parts.given ? 'MASTER_KEY' : MASTER_KEY_FILE} back`,
    );
  } else if (!current) {
    log.warn(
      {},
      `${MASTER_KEY_FILE} holds no key, so that tenants can keep none of theirs: put your copy back, or rotate it`,
    );
  }

  let inUse = [current, previous].filter((key) => key !== null);

  const rotateNow = async (dropUnopenable: boolean, actor: Actor): Promise<Reseal> => {
    await settle();
    const next = newMasterKey();
    await writeKey(nextPath, next);
    parts.atStep?.('staged');
    // Before anything is sealed with it, and with those that it may be sealed with until then.
    await parts.share?.([next, ...inUse]);
    let result: Reseal;
    try {
      result = control.resealProviderKeys(next, dropUnopenable ? 'drop' : 'refuse', actor);
    } catch (error) {
      await settle();
      throw error;
    }
    // In the same tick: what is put from here on is sealed with the new one.
    current = next;
    control.unlockProviderKeys(next);
    inUse = [next];
    parts.atStep?.('resealed');
    await settle();
    parts.atStep?.('renamed');
    compact();
    await parts.share?.(inUse);
    return result;
  };

  return {
    async rotate({ dropUnopenable }, actor) {
      if (parts.given) {
        const message =
          'is given in MASTER_KEY: start the server with the new one there and the old one in MASTER_KEY_PREVIOUS';
        throw invalid([{ path: 'master_key', message }]);
      }
      return inTurn(MASTER_KEY_FILE, () => rotateNow(dropUnopenable, actor));
    },
    inUse: () => inUse,
    isInFile: !parts.given,
    isFileMissing: async () => !parts.given && typeof (await readKey(path)) === 'string',
  };
}
