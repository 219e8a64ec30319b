import { openControlPlane } from '../../../control-plane/control-plane.ts';
import { rebuildControl } from '../../../server/operations/rebuild.ts';
import { systemClock } from '../../../tenant-schema/clock.ts';
import { createIds } from '../../../tenant-schema/ids.ts';
import { openTenantEngine } from '../../../tenant-schema/sqlite/engine.ts';

// Rebuilds control.db in the folder given, and kills itself at the moment given: `reading` the files, `adding` the
// tenants, or when they are `added` and nobody has seen their keys.

const [folder = '', moment = ''] = process.argv.slice(2);
const die = (): never => {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('still alive');
};

const ids = createIds(systemClock);
let given = 0;
const control = openControlPlane({
  path: `${folder}/control.db`,
  clock: systemClock,
  ids: () => {
    given += 1;
    // Each tenant takes one for its key at least: the first of them is in the transaction by now.
    return moment === 'adding' && given > 3 ? die() : ids();
  },
});
const engine = openTenantEngine({
  folder: `${folder}/tenants`,
  clock: systemClock,
  ids,
  runId: ids(),
  openMax: 8,
  idleMs: 60_000,
  durability: 'full',
  log: { warn: () => {} },
});
const usage = { tryRebuild: async () => {} };
await rebuildControl({ control, engine, usage, dataDir: folder }, (done) => {
  if (moment === 'reading' && done === 1) die();
});
if (moment === 'added') die();
