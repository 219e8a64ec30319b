import { Fault } from '../../tenant-schema/fault.ts';

/** The fault that `work` throws, now or as a rejection; anything else fails the test. */
export async function faultOf(work: () => unknown): Promise<Fault> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('expected a fault, but nothing was thrown');
}

/** As `faultOf` for work that is not asynchronous. */
export function faultOfSync(work: () => unknown): Fault {
  try {
    work();
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('expected a fault, but nothing was thrown');
}
