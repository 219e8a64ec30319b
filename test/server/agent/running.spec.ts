import { expect } from 'chai';
import { RunningTurns } from '../../../server/agent/running.ts';
import { Fault } from '../../../tenant-schema/fault.ts';

describe('the turns at work', () => {
  const reason = new Fault('tenant_unavailable', 'The data are being replaced.');
  /** A turn that ends when it is aborted, as turns do. */
  const turn = (running: RunningTurns, id: string, onAbort = (): void => {}): AbortSignal => {
    const controller = new AbortController();
    running.add(id, { tenantId: 'acme', bytes: 1, controller });
    controller.signal.addEventListener('abort', () => {
      onAbort();
      queueMicrotask(() => running.remove(id));
    });
    return controller.signal;
  };

  it('are ended by a drain past its deadline, those too that were being admitted then', async () => {
    const running = new RunningTurns();
    let late: AbortSignal | null = null;
    turn(running, 'first', () => {
      queueMicrotask(() => {
        late = turn(running, 'late');
      });
    });
    await running.drain(0);
    expect(late).to.have.property('aborted', true);
    expect(running.has('late')).to.equal(false);
  });

  it('are kept away by one piece of work at a time, however many wait for the same tenant', async () => {
    const running = new RunningTurns();
    let atWork = 0;
    const work = async (): Promise<void> => {
      atWork += 1;
      expect(atWork).to.equal(1);
      for (let tick = 0; tick < 10; tick += 1) {
        await Promise.resolve();
        expect(running.isPaused('acme')).to.equal(true);
      }
      atWork -= 1;
    };
    await Promise.all([1, 2, 3].map(() => running.paused('acme', reason, work)));
    expect(running.isPaused('acme')).to.equal(false);
  });
});
