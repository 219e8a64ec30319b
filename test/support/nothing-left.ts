import { expect } from 'chai';

// A server that a test leaves open would keep the run from its end for ever, with every test green.

/** What a spec must have ended by the end of the run; timers and pipes of the run itself are left alone. */
const OWNED = ['TCPServerWrap', 'ProcessWrap'];

export const mochaHooks = {
  afterAll(): void {
    const left = process.getActiveResourcesInfo().filter((kind) => OWNED.includes(kind));
    expect(left, 'servers and processes that a test has left open').to.deep.equal([]);
  },
};
