import { expect } from 'chai';
import { expectedBytes, HEADROOM_BYTES } from '../../tenant-schema/room.ts';
import { faultOf } from '../support/faults.ts';
import {
  answered,
  begin as beginTurn,
  configContent,
  startEngine,
  type TestEngine,
  turnRequest,
} from '../support/tenants.ts';

const MIB = 1024 * 1024;
const QUESTION = 'q'.repeat(8 * MIB);
const ANSWER = 'a'.repeat(4 * MIB);

describe('room for the turns of a tenant with a limit', () => {
  let world: TestEngine;
  let id: string;
  let configId: string;

  beforeEach(async () => {
    world = startEngine({ storageBytesMaxOf: () => MIB });
    id = await world.tenant();
    configId = await world.engine.use(id, (store) => store.createConfig(configContent()).id);
  });
  afterEach(() => world.stop());

  const begin = (text: string, storageBytesReserved: number) =>
    world.engine.use(id, (store) =>
      beginTurn(store, turnRequest(configId, text, { storageBytesMax: MIB, storageBytesReserved })),
    );

  it('is found for whatever was begun, also beyond the hard end of the file', async () => {
    const turns = [];
    for (let count = 1; count <= 4; count += 1) turns.push(await begin(QUESTION, count * QUESTION.length));
    for (const turn of turns) {
      expect(await world.engine.use(id, (store) => store.finishTurn(turn, answered(turn, ANSWER)))).to.equal(
        true,
      );
    }
    const { sizeBytes } = await world.engine.stat(id);
    expect(sizeBytes).to.be.greaterThan(MIB + HEADROOM_BYTES);
  });

  it('is there for any one turn below the limit, and not for what others need already', async () => {
    const largest = expectedBytes({ kind: 'message', text: 'x'.repeat(40 * MIB), cancelToolCalls: false });
    await begin('hello', largest);
    const refused = await faultOf(() => begin('hello', largest + MIB));
    expect(refused.code).to.equal('storage_quota_exceeded');
    expect(refused.details).to.deep.equal({ limit: 'storage_bytes_max', retryAfterSeconds: 1 });
  });

  it('is found to close what died in a file that is at its hard end', async () => {
    const turns = [];
    for (let count = 0; count < 5; count += 1) turns.push(await begin(QUESTION, 0));
    const lost = await begin('hello', 0);
    for (const turn of turns)
      await world.engine.use(id, (store) => store.finishTurn(turn, answered(turn, 'a')));
    await world.engine.close();
    world = world.restart({ storageBytesMaxOf: () => 0 });
    const [log] = await world.engine.use(id, (store) => store.listLogs({}, { limit: 1, cursor: null }).data);
    expect(log).to.include({ id: lost.id, status: 'aborted' });
  });
});
