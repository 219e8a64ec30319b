// Loaded before a server that is measured. At SIGUSR2 it says on standard output how late the event loop was since the
// last time, and what is in use after everything that can be freed has been. Plain JavaScript, so that nothing else is
// loaded into the server.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const RESOLUTION_MS = 10;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

process.on('SIGUSR2', () => {
  const loopDelayP99Ms = Math.max(delay.percentile(99) / 1e6 - RESOLUTION_MS, 0);
  const residentBytes = process.memoryUsage.rss();
  delay.disable();
  collect();
  delay.reset();
  delay.enable();
  const { heapUsed, external } = process.memoryUsage();
  const found = { loopDelayP99Ms, residentBytes, heldBytes: heapUsed + external };
  process.stdout.write(`probe ${JSON.stringify(found)}\n`);
});
