import { availableParallelism } from 'node:os';

export interface Settings {
  /** Multiplies counts and times; 1 is what the goals are stated for. */
  scale: number;
  /** Processors for the server with the processes that it starts, and for all others; null leaves it to the system. */
  cpus: { server: string; others: string } | null;
}

/** Reads `BENCH_SCALE` (0.01 to 1) and `BENCH_PIN` (0 pins nothing). */
export function readSettings(): Settings {
  const scale = Number(process.env.BENCH_SCALE || '1');
  if (!(scale >= 0.01 && scale <= 1)) throw new Error('BENCH_SCALE must be a number from 0.01 to 1');
  const count = availableParallelism();
  const pins = process.platform === 'linux' && count > 1 && process.env.BENCH_PIN !== '0';
  return { scale, cpus: pins ? { server: '0', others: `1-${count - 1}` } : null };
}
