const parentId = process.ppid;

/**
 * Ends a process that nobody waits for any more. Synchronous work hears nothing of a channel that closes, and would
 * go on in a folder that belongs to the next server by then.
 */
export function requireParent(): void {
  if (process.ppid !== parentId) process.exit(1);
}
