import { readFileSync } from 'node:fs';
import { runWorker } from '../../server/worker.ts';
import { systemClock } from '../../tenant-schema/clock.ts';
import { clockFileOf } from './worker-clock.ts';

// A worker whose time is what the test's own process takes for it.
runWorker({
  clockOf: ({ dataDir }) => ({
    now: () => Number(readFileSync(clockFileOf(dataDir), 'utf8')),
    monotonic: () => systemClock.monotonic(),
  }),
});
