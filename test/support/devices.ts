import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where another file system is mounted than that of temporary folders, on one machine or the other. */
const CANDIDATES = ['/dev/shm', `/run/user/${process.getuid?.() ?? 0}`, '/run', homedir(), process.cwd()];

/**
 * A folder that is gone after the test, on another file system than other temporary folders, to which no file can be
 * renamed from there. @throws where this machine has only one that can be written to
 */
export function folderOnAnotherDevice(): { path: string; remove(): void } {
  for (const candidate of CANDIDATES) {
    try {
      if (statSync(candidate).dev === statSync(tmpdir()).dev) continue;
      const path = mkdtempSync(join(candidate, 'nimblesite-test-'));
      return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
    } catch {
      // Not on this machine, or not for us.
    }
  }
  throw new Error(`This test needs a second file system: none of ${CANDIDATES.join(', ')} is one.`);
}
