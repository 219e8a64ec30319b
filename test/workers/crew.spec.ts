import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { createDoor } from '../../server/http/forward.ts';
import { type CrewParts, createCrew } from '../../server/workers/crew.ts';
import { createReservations } from '../../server/workers/reservations.ts';
import { systemClock } from '../../tenant-schema/clock.ts';
import { createIds } from '../../tenant-schema/ids.ts';

const programOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

function parts(changes: Partial<CrewParts>): CrewParts {
  return {
    size: 2,
    ownRunId: 'first',
    program: programOf('./serving-worker.ts'),
    startOf: (runId) => ({ config: {}, runId, runSecret: '', socketPath: '' }),
    ids: createIds(systemClock),
    clock: systemClock,
    log: { info() {}, warn() {}, error() {} },
    stderr: null,
    reservations: createReservations(),
    restartMs: 1,
    drainMs: 1000,
    bringUp: async () => {},
    settleRest: async () => {},
    used() {},
    died() {},
    gaveUp() {},
    ...changes,
  };
}

describe('a crew of workers', () => {
  it('does not start where a worker ends before it serves', async () => {
    const crew = createCrew(parts({ size: 1, program: programOf('./dying-worker.ts') }));
    const error: unknown = await crew.start([]).catch((reason: unknown) => reason);
    expect(error).to.be.an('error').with.property('message').that.includes('ended before it could serve');
    await crew.drain();
  });

  it('leaves no connection open that was on its way to a worker that dies', async () => {
    let pid = 0;
    const crew = createCrew(
      parts({
        size: 1,
        restartMs: 60_000,
        log: {
          info: (fields: object) => {
            if ('pid' in fields) pid = Number(fields.pid);
          },
          warn() {},
          error() {},
        } as CrewParts['log'],
      }),
    );
    await crew.start([]);
    // Nought would be this process and all of its group.
    expect(pid).to.be.above(0);
    let handedOff = 0;
    let bothAreOnTheirWay = (): void => {};
    const onTheirWay = new Promise<void>((resolve) => {
      bothAreOnTheirWay = resolve;
    });
    const door = createDoor(
      (socket) => socket.destroy(),
      (socket) => {
        const isGiven = crew.handOff(socket);
        handedOff += 1;
        if (handedOff === 2) bothAreOnTheirWay();
        return isGiven;
      },
    );
    try {
      await once(door.listen(0, '127.0.0.1'), 'listening');
      const { port } = door.address() as AddressInfo;
      // It takes nothing more, as one that dies at that moment.
      process.kill(pid, 'SIGSTOP');
      // One that is sent, and one that waits behind it.
      const clients = [1, 2].map(() => connect({ port, host: '127.0.0.1' }).on('error', () => {}));
      const closed = clients.map((client) => once(client, 'close'));
      await onTheirWay;
      process.kill(pid, 'SIGKILL');
      await Promise.all(closed);
    } finally {
      door.close();
      await crew.drain();
    }
  });

  it('gives up where workers die again and again, and not before', async function () {
    this.timeout(60_000);
    let deaths = 0;
    let gaveUp = (): void => {};
    const over = new Promise<void>((resolve) => {
      gaveUp = resolve;
    });
    const crew = createCrew(
      parts({
        size: 1,
        log: {
          info: (fields: object) => {
            // Each as soon as it serves.
            if ('pid' in fields) process.kill(Number(fields.pid), 'SIGKILL');
          },
          warn() {},
          error() {},
        } as CrewParts['log'],
        died: () => {
          deaths += 1;
        },
        gaveUp,
      }),
    );
    await crew.start([]);
    await over;
    expect(deaths).to.equal(5);
    await crew.drain();
  });
});
