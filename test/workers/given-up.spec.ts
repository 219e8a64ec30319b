import { expect } from 'chai';
import { createGivenUp } from '../../server/workers/given-up.ts';
import { startEngine } from '../support/tenants.ts';

describe('what a worker gives up for the first process', () => {
  it('is its again where it is given back before it was given up', async () => {
    const world = startEngine();
    const id = await world.tenant();
    const held = createGivenUp();
    // As messages come that were read together: both before the first has been worked off.
    await Promise.all([held.giveUp(id, world.engine.letGo(id)), held.takeBack(id)]);
    expect(await world.engine.use(id, () => 'used')).to.equal('used');
    await world.stop();
  });

  it('is kept from it until it is given back, and no longer', async () => {
    const world = startEngine();
    const id = await world.tenant();
    const held = createGivenUp();
    await held.giveUp(id, world.engine.letGo(id));
    let isUsed = false;
    const using = world.engine.use(id, () => {
      isUsed = true;
    });
    await new Promise(setImmediate);
    expect(isUsed).to.equal(false);
    // Given up again at once.
    await Promise.all([held.takeBack(id), using]);
    await held.giveUp(id, world.engine.letGo(id));
    expect(world.engine.stats().open).to.equal(0);
    await held.takeBack(id);
    expect(await world.engine.use(id, () => 'used')).to.equal('used');
    await world.stop();
  });
});
