import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import { expect } from 'chai';
import { openChannel, type Peer } from '../../server/workers/channel.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { faultOf } from '../support/faults.ts';

type Asked = { bringUp: { sent: null; answered: null } };

/** Two ends: what is sent at one comes at the other, as a copy; a connection itself. */
function joinedPeers(): [Peer, Peer] {
  const [one, other] = [new EventEmitter(), new EventEmitter()];
  const peer = (own: EventEmitter, far: EventEmitter): Peer =>
    Object.assign(own, {
      connected: true,
      send: (message: unknown, handle?: unknown) => far.emit('message', structuredClone(message), handle),
    });
  return [peer(one, other), peer(other, one)];
}

describe('what one process asks another', () => {
  it('fails as it did there, with what its caller is told of when to try again', async () => {
    const [worker, first] = joinedPeers();
    openChannel<Asked, Asked>(first, {
      bringUp() {
        throw new Fault('overloaded', 'Another program has it open.', { details: { retryAfterSeconds: 1 } });
      },
    });
    const channel = openChannel<Asked, Record<never, never>>(worker, {});
    const fault = await faultOf(() => channel.ask('bringUp', null));
    expect(fault).to.include({ code: 'overloaded', message: 'Another program has it open.' });
    expect(fault.details).to.deep.equal({ retryAfterSeconds: 1 });
  });

  it('holds a connection that it gives until the other has taken it', () => {
    const [first, worker] = joinedPeers();
    const channel = openChannel<Asked, Record<never, never>>(first, {});
    const arrived: { wasHeld: boolean }[] = [];
    openChannel<Record<never, never>, Record<never, never>>(worker, {}, (socket) =>
      arrived.push({ wasHeld: !socket.destroyed }),
    );
    const socket = new Socket();
    expect(channel.give(socket)).to.equal(true);
    expect(arrived).to.deep.equal([{ wasHeld: true }]);
    expect(socket.destroyed).to.equal(true);
  });

  it('closes a connection that the other process did not take before it ended', () => {
    const first = Object.assign(new EventEmitter(), { connected: true, send: () => true });
    const channel = openChannel<Asked, Record<never, never>>(first, {});
    const socket = new Socket();
    expect(channel.give(socket)).to.equal(true);
    expect(socket.destroyed).to.equal(false);
    first.emit('exit');
    expect(socket.destroyed).to.equal(true);
    expect(channel.give(new Socket()), 'to one that has ended').to.equal(false);
  });
});
