import type { Crew } from './crew.ts';

/** A server that is one process: nobody has to be asked. */
export const NO_CREW: Crew = {
  start: async () => {},
  handOff: () => false,
  isLiveRun: () => false,
  closed: (_tenantId, work) => work(),
  paused: (_tenantId, _reason, work) => work(),
  unlock: async () => {},
  flush: async () => {},
  toldUntil: () => null,
  figures: async () => [],
  stats: async () => [],
  reloadPrices: () => {},
  drain: async () => {},
};
