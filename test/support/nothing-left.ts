import { setImmediate } from 'node:timers/promises';
import { expect } from 'chai';

// A server that a test leaves open would keep the run from its end for ever, with every test green.

/** What a spec must have ended by the end of the run; timers and pipes of the run itself are left alone. */
const OWNED = ['TCPServerWrap', 'ProcessWrap'];

export const mochaHooks = {
  async afterAll(): Promise<void> {
    // What was closed by the last test is so a turn of the loop later.
    await setImmediate();
    const left = process.getActiveResourcesInfo().filter((kind) => OWNED.includes(kind));
    expect(left, 'servers and processes that a test has left open').to.deep.equal([]);
  },
};
