import { readdirSync, readFileSync } from 'node:fs';
import type { ServerProcess } from '../support/process.ts';

/** The processes that run in the group of a server that was started with one, its own apart once it has ended. */
export function processesOf({ child }: ServerProcess): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const [state, , group] = statusOf(pid);
      // A dead one stays listed until its new parent has asked after it.
      return Number(group) === child.pid && state !== 'Z' && state !== 'X';
    });
}

/** State, parent and group. */
function statusOf(pid: number): string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name before them may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    // It has ended meanwhile.
    return [];
  }
}
