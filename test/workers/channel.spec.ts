import { EventEmitter } from 'node:events';
import { expect } from 'chai';
import { openChannel, type Peer } from '../../server/workers/channel.ts';
import { Fault } from '../../tenant-schema/fault.ts';
import { faultOf } from '../support/faults.ts';

type Asked = { bringUp: { sent: null; answered: null } };

/** Two ends: what is sent at one comes at the other, as a copy. */
function joinedPeers(): [Peer, Peer] {
  const [one, other] = [new EventEmitter(), new EventEmitter()];
  const peer = (own: EventEmitter, far: EventEmitter): Peer =>
    Object.assign(own, {
      connected: true,
      send: (message: unknown) => far.emit('message', structuredClone(message)),
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
});
