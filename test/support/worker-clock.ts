import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where workers of a test's server look what time it is. */
export const clockFileOf = (dataDir: string): string => join(dataDir, 'test-clock');

/** Tells them, in one step. */
export function tellWorkersTime(dataDir: string, now: number): void {
  const path = clockFileOf(dataDir);
  writeFileSync(`${path}.new`, String(now));
  renameSync(`${path}.new`, path);
}
