import { readFileSync } from 'node:fs';

// What a process and its children have used, as the system counts it. NaN where it does not tell (only Linux does).

/** Linux tells times in hundredths of a second, whatever its own clock does. */
const MICROS_PER_TICK = 10_000;

/** Microseconds of a processor, of all threads, since the process began. In steps of 10 ms. */
export function cpuMicrosOf(pid: number): number {
  return sumOfTree(pid, (each) => {
    const fields = readFileSync(`/proc/${each}/stat`, 'utf8').split(') ').pop()?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) * MICROS_PER_TICK;
  });
}

/** Bytes of memory that are its own or shared, as they are now. */
export function residentBytesOf(pid: number): number {
  return sumOfTree(pid, (each) => {
    const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${each}/status`, 'utf8'))?.[1];
    return Number(kib ?? 0) * 1024;
  });
}

function sumOfTree(pid: number, figure: (pid: number) => number): number {
  try {
    const own = figure(pid);
    return childrenOf(pid).reduce((sum, child) => {
      // A child may have ended meanwhile.
      const its = sumOfTree(child, figure);
      return Number.isNaN(its) ? sum : sum + its;
    }, own);
  } catch {
    return Number.NaN;
  }
}

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
